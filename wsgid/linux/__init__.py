"""What the kernel offers: processes, memory, signals, files. The modules here know nothing of a server, and log
nothing.

process.py         start, fork, exec and reap processes; set process titles
thread_times.py    how long a thread ran, or waited for a processor
memory.py          the size of a process
gaps.py            let a forked process have its objects in pages of its own
file_pages.py      give back the pages of program files that only the start has read
chance.py          random numbers of the kernel
signals.py         the pipe into which the C signal handler writes
syscall_errors.py  a refused system call as one sentence, with the remedy
privileges.py      become another user, and verify the change
safefiles.py       files in directories that another user may be able to write to
filewatch.py       detect that files have changed
selector.py        stop waiting for a descriptor
listen_queue.py    how many connections wait in a backlog
interpreter.py     the command line that starts one of wsgid's own programs
programs.py        start one of them
ahead.py           the first of them, forked before the options are read
memfd.py           a value on its way to another process
socket_pair.py     the two ends of a channel
forked_child.py    whether the application has forked this process, and how such a process ends
"""
