"""One check: decode, gather what the decision needs, decide, encode, record.

May import `metrics`. Knows no transport. Begin with `check`.
"""
