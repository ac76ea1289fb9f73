"""Runs the whole gateway on one machine: which children there are, how each lives, and what is said about it."""
