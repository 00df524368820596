"""The operator's application: how it is imported, and what an import and a fork can leave behind.

gevent_patch.py   patch the standard library for gevent, first of all
prepare.py        everything before the first fork of a worker
importer.py       find and import the application
naming.py         MODULE:CALLABLE and its other forms
paste.py          applications that paste.deploy loads
early_imports.py  modules that were imported before gevent could patch them
late_import.py    an import that takes longer than --boot-timeout
import_watch.py   threads and connections of the import, which workers would lose or share
drivers.py        drivers that wait in C, and psycogreen for psycopg2
peers.py          the other ends of this process's sockets
hook_runner.py    runs the hooks of wsgid.hooks in a worker
uwsgi_api/        --uwsgi-module
forks.py          processes that the application forks
offloading.py     wsgid.offload: functions that run in threads
offload_home.py   the worker that they wait in, and its counts
whereabouts.py    describes a greenlet or a thread of the application
blame.py          which line of a stack is to blame
check_child.py    the child process of --check
"""
