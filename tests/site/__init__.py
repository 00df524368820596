"""Tests with real servers, sorted by what an operator would call the subject."""
