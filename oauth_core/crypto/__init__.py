"""Random values, digests, base64url, and encryption and authentication of stored values.

Imports no other part of `oauth_core`. Begin with `credentials`.
"""
