"""The operator's options: from all sources to one frozen Settings object.

options.py        every option, declared once, and Settings
values.py         kinds of values: parse a text, show a value
commandline.py    the command line
usage.py          --help and --help-all
ini.py            uWSGI's ini files
expand.py         placeholders and variables in uWSGI's ini files
uwsgi_options.py  uWSGI's options that have no effect here, and those that wsgid refuses
uwsgi_words.py    the names of all of uWSGI's options
uwsgi_numbers.py  how uWSGI reads a number and a switch
foreign.py        what becomes of a name that is no option of wsgid
other_servers.py  the flags of gunicorn, Flask and others, and what wsgid has instead
dev.py            --dev: values for options that nobody has given
sources.py        the environment, TOML files and ini files as lists of option values
together.py       what uWSGI's options mean together
merge.py          merges all sources; the higher source wins
migrate.py        --migrate: the TOML file and the unit of a site of uWSGI
check.py          --check: print the resulting settings, and try to import the application
"""
