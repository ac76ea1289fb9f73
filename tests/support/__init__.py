"""Real servers and honest helpers for the tests."""
