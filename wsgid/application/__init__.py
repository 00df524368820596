"""The operator's application: imported once, with all that an import and a fork can leave behind.

prepare.py        everything up to the first fork of a worker
importer.py       find and import it
late_import.py    an import that takes longer than --boot-timeout
import_watch.py   what the import has started or connected, which its workers miss or would share
forks.py          what becomes of a process that the application forks
whereabouts.py    a greenlet or a thread of the application in words
check_child.py    the child of --check
"""
