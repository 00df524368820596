"""What a running worker says of itself.

queries.py   wsgidctl's questions, and who answers
stacks.py    where all greenlets and threads are
heap.py      what fills the memory
profiler.py  where the time goes
"""
