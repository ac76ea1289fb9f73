"""Signing a person in: the redirect, the check of membership, the browser session, and the end of a login.

May import `guards` and what is below it. Begin with `redirect`.
"""
