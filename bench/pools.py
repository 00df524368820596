"""Settings that the applications with databases have in common under every server."""

POOL_MAX = 40  # connections of a worker: two workers leave some of PostgreSQL's usual 100 free
POOL_WAIT_S = 30.0  # how long a request waits for a connection: with 500 clients most of them wait
