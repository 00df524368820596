"""Databases, caches and services behind requests: real servers and drivers."""
