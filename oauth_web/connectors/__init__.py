"""Connectors to identity providers. Each one returns the identity of a person and their groups.

Imports nothing of `oauth_web`.
"""
