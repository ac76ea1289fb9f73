"""The connector to GitHub: it returns the identity of a person and their groups.

Imports nothing of `oauth_web`.
"""
