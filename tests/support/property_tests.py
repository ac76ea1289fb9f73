"""How many examples a property test tries: a number of its own, ten times as many when `make explore` runs it."""

from __future__ import annotations

from hypothesis import settings

_USUAL = 100


def examples(number: int) -> settings:
    """The loaded profile with `number` examples instead of 100, for what is slow or needs many of them."""
    return settings(max_examples=number * settings().max_examples // _USUAL)
