"""What a request costs: wsgid beside the servers one would use instead (docs/bench.md). It is not installed."""
