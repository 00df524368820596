"""Real applications under wsgid: `make apps`, or `make apps ONLY="trac zope"`.

    an environment from PyPI -> prepare -> behind nginx, then over --http: visit, HUP, visit, stop -> a row of the table

__main__.py    the command
trial.py       one application, one way: start, visit, reload, visit, stop
catalogue.py   the applications
visits.py      what their visitors do

Rules
* Each application has a virtual environment of its own in .venv-apps/, made once. wsgid runs in the developer's
  environment, and takes the packages by --virtualenv, as a site does.
* A visitor does the application's main job with its real client or protocol, and checks the answers.
* An ERROR or a traceback in the log is a failure. Only a loop that was held up by work for the processor is none.
* docs/applications.md has the table, and what to set.
"""
