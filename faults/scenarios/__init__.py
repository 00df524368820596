"""The scenarios of `make faults`: a module for each, or for a few that belong together, with SCENARIOS."""
