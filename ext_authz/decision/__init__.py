"""One check: decode, resolve the decision context, decide, encode, record.

May import `metrics`. Depends on no transport. Begin with `check`.
"""
