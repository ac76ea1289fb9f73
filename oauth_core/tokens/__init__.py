"""What the gateway issues: access tokens, refresh tokens and assertions for services.

May import `jose` and what is below it. Begin with `access_tokens`.
"""
