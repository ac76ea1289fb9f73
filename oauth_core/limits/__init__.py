"""How often something may be done, and how much of Redis strangers may fill.

Imports nothing of ours but `oauth_core.errors`.
"""
