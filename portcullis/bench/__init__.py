"""The benchmark of the check path: fixtures, a load generator that checks every answer, and peers."""
