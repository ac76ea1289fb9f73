"""One module an endpoint: each makes a blueprint.

May import everything else of `oauth_web` but `app`. Begin with `authorize`.
"""
