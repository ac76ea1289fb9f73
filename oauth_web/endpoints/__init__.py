"""The HTTP endpoints. Each module makes the blueprint of one endpoint.

May import everything else of `oauth_web` except `app`. Begin with `authorize`.
"""
