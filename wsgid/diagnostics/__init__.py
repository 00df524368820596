"""What a running worker says of itself.

queries.py         wsgidctl's questions, and who answers
stacks.py          where all greenlets and threads are
heap.py            what fills the memory
profiler.py        where the time goes
samplers.py        who runs or waits, asked again and again
profile_stacks.py  the stacks that were seen, counted
"""
