"""One pool of connections to Redis for all requests of a worker.

Django makes a cache object for each thread, under gevent for each greenlet, and each of these objects asks `pool_class`
for a pool of its own.  A bound of such a pool would be the bound of one request: 200 requests at once would be 200
connections.  This class gives the same pool to all who ask for the same server.
"""

import functools
from typing import Any, Self

from redis import BlockingConnectionPool


class WorkerPool(BlockingConnectionPool):
    """A request that finds all connections in use waits for one; redis-py's usual pool would raise an error."""

    @classmethod
    @functools.cache
    def from_url(cls, url: str, **options: Any) -> Self:
        return super().from_url(url, **options)
