"""Where lines go, and what a request's line says. (What is said, and the server log itself: ../log.py.)

destination.py  files, standard error, syslog: as the operator writes them
logfiles.py     the files, opened by the master, and their rotation
syslogger.py    datagrams to a syslog
logformat.py    --log-format: from text to a function
accesslog.py    a worker's lines, gathered
stream.py       whole lines to a descriptor, without waiting
outlet.py       where the lines of requests go: a stream or a syslog
"""
