"""`make faults`: what may go wrong on a site, done to a real server under real load, with every request counted."""
