"""How many examples a property test uses: its own number, and ten times as many with `make explore`."""

from __future__ import annotations

from hypothesis import settings

_USUAL = 100


def examples(number: int) -> settings:
    """The loaded profile with `number` examples instead of 100, for slow tests and for those that need many
    examples.
    """
    return settings(max_examples=number * settings().max_examples // _USUAL)
