"""Limits of rate and concurrency, in real servers with several workers."""
