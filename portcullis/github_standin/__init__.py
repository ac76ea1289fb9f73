"""A local stand-in for GitHub: its sign-in page and the few API calls we make, for a machine without a GitHub app.

Whoever reaches it can be anybody, so it refuses to serve an issuer that is not this machine, and says what it
is on every page.
"""
