"""How master, template and workers speak with each other.

messages.py    every message, and how it is written
channel.py     one SOCK_SEQPACKET socketpair
scoreboard.py  shared memory: a line of numbers for each worker
stackdump.py   the stack of a process that is stuck in C
"""
