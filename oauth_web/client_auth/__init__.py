"""Client authentication, proofs and certificates of the caller, and the authorization to register a client.

May import `login` and what is below it. Begin with `authentication`.
"""
