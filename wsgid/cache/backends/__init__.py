"""wsgid.cache behind the interfaces that applications use already. Each module needs its library; no other does.

django.py     CACHES of Django: sessions, cache_page, django-ratelimit
cachelib.py   Flask-Caching, Flask-Session
dogpile.py    dogpile.cache
"""
