"""Which Redis servers there are and which of them counts: one server, Sentinels or a cluster.

Imports nothing of the other parts of the store. Begin with `topology`.
"""
