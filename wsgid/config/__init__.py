"""What the operator wants: from all sources to one frozen Settings.

options.py        every option, declared once, and Settings
values.py         kinds of values: text to value and back
commandline.py    the command line and --help
ini.py expand.py  uWSGI's ini, and what stands for something else in it
uwsgi_options.py  uWSGI's options that need nothing here, and those that have no counterpart
sources.py        the environment, TOML, and what an ini says
merge.py          all sources together: who wins
check.py          --check: what the options come to, and whether the application can be imported
"""
