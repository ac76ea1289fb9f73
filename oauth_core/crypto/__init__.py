"""Random values, digests, base64url, and encryption and authentication of what is stored.

Imports nothing else of ours. Begin with `credentials`.
"""
