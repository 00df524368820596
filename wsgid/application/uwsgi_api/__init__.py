"""--uwsgi-module: the modules `uwsgi` and `uwsgidecorators`, as far as sites use them.

module.py      makes the module `uwsgi`
timers.py      its signals, timers and crons, on wsgid.hooks
locks.py       its locks, between greenlets and between workers
caching.py     its cache_* functions, on wsgid.cache
decorators.py  the module `uwsgidecorators`
watch.py       without --uwsgi-module: names code that imports one of them

Rules
* The modules are there only with --uwsgi-module: libraries such as cachelib, isso, python-engineio and ddtrace switch
  to uWSGI's ways when they can import `uwsgi`.
* What is not here raises AttributeError with the remedy, so that hasattr() and getattr() say the truth.
* Types are uWSGI's: values of `uwsgi.opt` are bytes or True.
"""
