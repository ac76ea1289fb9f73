"""Where people sign in. Each connector says who somebody is, and in which groups.

Imports nothing of `oauth_web`.
"""
