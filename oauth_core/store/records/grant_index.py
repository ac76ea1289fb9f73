"""Whose grants are whose: sets in which a grant is noted before it exists, so that whoever ends them finds it."""

from __future__ import annotations

NOTE_GRANT = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
local longest = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
return redis.call('EXPIREAT', KEYS[1], longest[2])
"""
"""KEYS: the grants of a person or a client. ARGV: grant, its expiry, now. The set lives as long as its longest
member, and those that ended leave it."""
