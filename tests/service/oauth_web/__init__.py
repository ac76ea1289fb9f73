"""The authorization server as its clients use it: a real process, a real Redis, the GitHub stand-in."""
