"""The sets of the grants of a person or a client.

A grant is added before it exists, so that a revocation finds it.
"""

from __future__ import annotations

NOTE_GRANT = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
local longest = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
return redis.call('EXPIREAT', KEYS[1], longest[2])
"""
"""KEYS: the grants of a person or a client. ARGV: grant, its expiry, now. The set is kept as long as its longest
member. Expired members are removed.
"""
