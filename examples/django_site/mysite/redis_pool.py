"""One pool of connections to Redis for all requests of a worker.

Django makes a cache object for each thread, under gevent for each greenlet, and each of these objects asks `pool_class`
for a pool of its own.  A bound of such a pool would be the bound of one request: 200 requests at once would be 200
connections.  This class gives the same pool to all who ask for the same server.
"""

from typing import Any, ClassVar

from redis import BlockingConnectionPool


class WorkerPool(BlockingConnectionPool):
    """A pool in which requests wait if all connections are in use. redis-py's usual pool would raise an error."""

    made: ClassVar[dict[str, "WorkerPool"]] = {}  # by the address of the server

    @classmethod
    def from_url(cls, url: str, **options: Any) -> "WorkerPool":
        if url not in cls.made:
            cls.made[url] = super().from_url(url, **options)
        return cls.made[url]
