"""Rate limits, and quotas on the part of Redis that unknown callers may fill.

Imports no other part of `oauth_core` but `oauth_core.errors`.
"""
