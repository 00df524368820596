"""What a running worker can tell about itself.

queries.py         wsgidctl's questions, and their answers
stacks.py          the stacks of all greenlets and threads
heap.py            what fills the memory
connections.py     the connections that go out, to databases and the like
held_sockets.py    the sockets that requests in flight hold
profiler.py        a profile: where the time is spent
samplers.py        take the samples: what runs, or what waits
profile_stacks.py  the stacks of the samples, counted
"""
