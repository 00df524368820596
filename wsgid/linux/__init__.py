"""What the kernel offers: processes, memory, signals, files. Nothing in here knows a server, and nothing logs.

process.py         start, fork, exec, reap, title
memory.py          how large a process is
signals.py         the pipe into which the C signal handler writes
syscall_errors.py  a refused system call in words, with its remedy
privileges.py      become another user, and verify it
safefiles.py       files in directories where somebody else may have put something
filewatch.py       whether files have changed
selector.py        wait no longer for a descriptor
listen_queue.py    how many connections wait in a backlog
interpreter.py     the command line that starts one of wsgid's own programs
forked_child.py    a process that the application has forked: whether this is one, and its end
"""
