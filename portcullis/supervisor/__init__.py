"""Runs the whole gateway on one machine: defines its child processes, runs them and reports their state."""
