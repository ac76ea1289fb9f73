"""The authorization server through its own front door: a real process, a real Redis, the GitHub stand-in."""
