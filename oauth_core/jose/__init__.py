"""Keys, key sets and signed JSON (JOSE), and what a token may be bound to.

May import `crypto` and `net`. Begin with `signing_keys`; `external_jwts` reads what others signed.
"""
