"""What the applications with databases have in common, whichever server runs them."""

POOL_MAX = 40  # connections of a worker: two workers leave some of PostgreSQL's usual 100 to others
POOL_WAIT_S = 30.0  # of a request for a connection: with 500 clients most of them wait
