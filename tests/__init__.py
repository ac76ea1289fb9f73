"""The tests: `unit` without I/O, the rest against the real programs."""
