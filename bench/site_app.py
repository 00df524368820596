"""The site of examples/django_site: its index page, with a template, a session and a database (SQLite, in a file).

The page differs with each visit, so the answer says only that the page was made.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse

from bench.apps import HELLO, answer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples" / "django_site"))
os.environ.update(DJANGO_SETTINGS_MODULE="mysite.settings", DJANGO_HOSTS="*", DJANGO_DB="site.sqlite3")

from django.core.management import call_command  # the settings come first
from django.core.wsgi import get_wsgi_application

site = get_wsgi_application()
call_command("migrate", verbosity=0)


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    statuses: list[str] = []
    page = site({**environ, "PATH_INFO": "/"}, lambda status, headers, error=None: statuses.append(status))
    content = b"".join(page)
    page.close()
    return answer(start_response, HELLO if statuses == ["200 OK"] and b"/headers/" in content else b"failed")
