"""What a request costs: wsgid beside other servers for the same purpose (docs/bench.md). This package is not
installed."""
