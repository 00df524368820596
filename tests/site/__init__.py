"""Tests of real servers, by what an operator would call the subject."""
