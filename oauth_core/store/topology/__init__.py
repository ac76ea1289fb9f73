"""The Redis servers, and which of them counts: one server, Sentinels or a cluster.

Imports no other part of the store. Begin with `topology`.
"""
