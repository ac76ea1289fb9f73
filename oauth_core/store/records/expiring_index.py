"""The index sets: the grants of a person or a client, and the sessions of a person, each by its expiry.

A grant or session is added before it exists, so that a revocation finds it.
"""

from __future__ import annotations

ADD = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
local longest = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
return redis.call('EXPIREAT', KEYS[1], longest[2])
"""
"""KEYS: the index. ARGV: the new member, its expiry, now. The index is kept as long as its longest member. Expired
members are removed.
"""
