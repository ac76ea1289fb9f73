"""Keys, key sets and signed JSON (JOSE), and the binding of tokens.

May import `crypto` and `net`. Begin with `signing_keys`; `external_jwts` reads JWTs that other parties signed.
"""
