"""The tokens that the gateway issues: access tokens, refresh tokens and service assertions.

May import `jose` and the folders below it. Begin with `access_tokens`.
"""
