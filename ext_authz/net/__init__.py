"""Where the check service listens.

Imports nothing of `ext_authz`.
"""
