"""The benchmark of the check path: a world to measure in, a load generator that checks every answer, and peers."""
