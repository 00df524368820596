"""How master, template and workers communicate.

messages.py     all messages, and their encoding
channel.py      one SOCK_SEQPACKET socketpair
scoreboard.py   shared memory with a line of numbers for each worker
locks.py        locks between workers, which the kernel releases when a worker dies
peer_counts.py  connections by peer, in a form of bounded size
stackdump.py    the stack of a process that is stuck in C
"""
