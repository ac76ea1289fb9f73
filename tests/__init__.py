"""The tests: `unit` without I/O, the others with the real programs."""
