"""How master, template and workers communicate.

messages.py    all messages, and their encoding
channel.py     one SOCK_SEQPACKET socketpair
scoreboard.py  shared memory with a line of numbers for each worker
stackdump.py   the stack of a process that is stuck in C
"""
