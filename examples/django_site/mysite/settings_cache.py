"""The same site with a cache that all workers share, also for its sessions.

    pip install 'django>=4.2' 'lmdb>=3'
    export DJANGO_SETTINGS_MODULE=mysite.settings_cache
    wsgid --http :8000 --workers 4 --cache site=64m --cache sessions=64m mysite.wsgi:application

Sessions that a restart of the server has to keep: --cache sessions=64m,/var/cache/site/sessions.
"""

from mysite.settings import *  # noqa: F403

BACKEND = "wsgid.cache.backends.django.WsgidCache"
CACHES = {
    "default": {"BACKEND": BACKEND, "LOCATION": "site", "OPTIONS": {"local": 500}},
    "sessions": {"BACKEND": BACKEND, "LOCATION": "sessions"},
}
SESSION_ENGINE = "django.contrib.sessions.backends.cache"
SESSION_CACHE_ALIAS = "sessions"
