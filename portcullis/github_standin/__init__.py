"""A local stand-in for GitHub: its sign-in page and the few API calls we make, for a machine without a GitHub app.

A caller can sign in as any user, so the stand-in refuses to serve an issuer that is not on this machine, and each
of its pages shows that it is a stand-in.
"""
