"""Tests with real clients: each runs unmodified against the running gateway, through Envoy.

`make test-clients` installs what they need and runs them; plain `pytest` leaves them out.
"""
