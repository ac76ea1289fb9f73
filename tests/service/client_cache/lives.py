"""The true state of tokens in a model: the periods in which each of them was active."""

from __future__ import annotations

from dataclasses import dataclass, field

from oauth_core.policy.decision import TokenStatus

FOREVER = float("inf")


@dataclass
class Life:
    """One period in which a token is active, from `begin` to `end`, as far as `end` is known now."""

    begin: float
    end: float


@dataclass
class Lives:
    """The active periods of every token, oldest first."""

    lives: dict[str, list[Life]] = field(default_factory=dict)

    def life(self, jti: str, now: float) -> Life | None:
        """The period of a token that is active at this moment. It is the last one."""
        last = self.lives.get(jti, [])[-1:]
        return last[0] if last and now < last[0].end else None

    def begin(self, jti: str, now: float, end: float = FOREVER) -> None:
        """The token becomes active, or its lifetime is changed."""
        self.end(jti, now)
        self.lives.setdefault(jti, []).append(Life(now, end))

    def end(self, jti: str, now: float) -> bool:
        """The token ends. Return whether it was active."""
        life = self.life(jti, now)
        if life is not None:
            life.end = now
        return life is not None

    def was(self, status: TokenStatus, jti: str, since: float, now: float) -> bool:
        """Whether this was the state of `jti` at some moment after `since` and until `now`."""
        if status is TokenStatus.ACTIVE:
            return any(life.begin <= now and life.end > since for life in self.lives.get(jti, []))
        lives = [life for life in self.lives.get(jti, []) if life.end > life.begin or life.begin == now]
        # A token is inactive before its first period, after each period, and always if it has none.
        ends = [-FOREVER, *(life.end for life in lives)]
        begins = [*(life.begin for life in lives), FOREVER]
        return any(end <= now and begin > since and end <= begin for end, begin in zip(ends, begins, strict=True))
