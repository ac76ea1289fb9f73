"""Programs of this machine: Envoy, the Redis server, and small servers of our own.

Imports nothing of `portcullis`.
"""
