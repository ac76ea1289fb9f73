"""The state of a refresh token in its family: the atomic step that rotates it, and the outcomes of that step.

A family never forks: one token is current, and every answer contains that token or none.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

# KEYS: grant.
# ARGV: family, presented, successor, sealed successor, now, grace, retry window, most ancestors, source.
# `previous` was replaced by `current`, which has not been used yet. `ancestors` lists older ones, oldest first:
# hash, sealed successor, and the second at which that successor was used. `rotated_from` is the source of the last
# rotation; a repetition from another source may come from a thief.
ROTATE = """
local fields = {'family', 'current', 'previous', 'rotated_at', 'successor', 'ancestors', 'rotated_from'}
local g = redis.call('HMGET', KEYS[1], unpack(fields))
local family, current, previous, rotated_at, successor = g[1], g[2], g[3], tonumber(g[4] or '0'), g[5]
local ancestors = g[6] and cjson.decode(g[6]) or {}
local presented, now, grace, retry = ARGV[2], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local elsewhere = g[7] and g[7] ~= ARGV[9] and 'elsewhere' or 'same source'
if not family or family ~= ARGV[1] then return {'gone'} end
if current == presented then
  if previous then ancestors[#ancestors + 1] = {previous, successor, now} end
  while #ancestors > 0 and (now - ancestors[1][3] > grace or #ancestors > tonumber(ARGV[8])) do
    table.remove(ancestors, 1)
  end
  redis.call('HSET', KEYS[1], 'current', ARGV[3], 'previous', presented, 'successor', ARGV[4], 'rotated_at', now,
    'ancestors', cjson.encode(ancestors), 'rotated_from', ARGV[9])
  redis.call('HDEL', KEYS[1], 'restored')
  return {'rotated'}
end
if previous == presented then
  if now - rotated_at <= retry then return {'repeated', elsewhere, successor} end
  return {'reused'}
end
for i, ancestor in ipairs(ancestors) do
  if ancestor[1] == presented and now - ancestor[3] <= grace then
    local answer = {'repeated', elsewhere}
    for later = i, #ancestors do answer[#answer + 1] = ancestors[later][2] end
    answer[#answer + 1] = successor
    return answer
  end
end
if redis.call('HEXISTS', KEYS[1], 'restored') == 1 then return {'restored'} end
return {'reused'}
"""


@dataclass(frozen=True)
class RotationSucceeded:
    """The presented token was the current one; its successor is now current."""


@dataclass(frozen=True)
class RetriedToken:
    """The presented token was used already and may still be answered, with the current token.

    `sealed` leads to it: the presented token decrypts the first member, and each result decrypts the next.
    `is_elsewhere` means that the last rotation came from another source.
    """

    sealed: tuple[str, ...]
    is_elsewhere: bool = False


@dataclass(frozen=True)
class ReplayDetected:
    """The presented token is an old one of this family: two parties hold it."""


@dataclass(frozen=True)
class RestoredFamily:
    """The family came from a backup and is unused since. The presented token may be newer than the backup."""


@dataclass(frozen=True)
class FamilyGone:
    """The family does not exist, or has ended."""


Rotation = RotationSucceeded | RetriedToken | ReplayDetected | RestoredFamily | FamilyGone

MOST_ANCESTORS = 64
"""The limit for one family. A grant has a limited number of refreshes a minute; this bounds its record in any
case.
"""


class RefreshState(Enum):
    """The state of a refresh token in its family."""

    CURRENT = "current"
    PREVIOUS = "previous"
    """It was replaced by the current one, which has not been used yet."""
    OLDER = "older"
    """It was replaced earlier, so lately that its ancestor entry still exists."""
    OTHER = "other"
    """It is older than these, or never was a token."""


def outcome_of(reply: object) -> Rotation:
    """Return the outcome that the reply of the step represents."""
    match reply:
        case ["rotated"]:
            return RotationSucceeded()
        case ["repeated", redis_key, *sealed]:
            return RetriedToken(tuple(map(str, sealed)), is_elsewhere=redis_key == "elsewhere")
        case ["reused"]:
            return ReplayDetected()
        case ["restored"]:
            return RestoredFamily()
        case _:
            return FamilyGone()
