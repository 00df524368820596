"""The scenarios of `make faults`. Each module has one scenario or a few related scenarios, in SCENARIOS."""
