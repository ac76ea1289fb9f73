"""Requests that programs send to addresses of the operator: with a time limit, signed, with secrets from files.

Imports `oauth_core` only. Begin with `posting`.
"""
