"""Latencies as a histogram: bounded memory, mergeable, and percentiles true to one part in a thousand.

Values are whole microseconds. Up to 2,047 µs each value has its own bucket; above, each doubling is divided into
1,024 buckets, so that a bucket is never wider than a thousandth of the values in it.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_BITS = 10
_PER_DOUBLING = 1 << _BITS


def bucket(microseconds: int) -> int:
    """The number of the bucket that holds a value; bigger values never have a smaller number."""
    shift = max(0, microseconds.bit_length() - _BITS - 1)
    return shift * _PER_DOUBLING + (microseconds >> shift)


def highest(number: int) -> int:
    """The largest value of a bucket, in microseconds. A percentile returns it, so that it never flatters."""
    shift = max(0, number // _PER_DOUBLING - 1)
    return ((number - shift * _PER_DOUBLING + 1) << shift) - 1


class Histogram:
    """Counts of answers by their latency."""

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        """`counts` maps numbers of buckets to their counts."""
        self.counts: Counter[int] = Counter(counts or {})

    def record(self, seconds: float) -> None:
        """Count one answer. A clock that went backwards by a rounding error is taken as zero."""
        self.counts[bucket(max(0, int(seconds * 1e6)))] += 1

    def merge(self, other: Histogram) -> None:
        """Count all of `other` here too."""
        self.counts.update(other.counts)

    def __len__(self) -> int:
        return self.counts.total()

    def percentile(self, share: float) -> float | None:
        """The value, in milliseconds, that `share` (0 to 1) of all answers did not exceed; `None` when empty."""
        total = len(self)
        if not total:
            return None
        rank = max(1, math.ceil(share * total))
        seen = 0
        number = 0
        for number in sorted(self.counts):
            seen += self.counts[number]
            if seen >= rank:
                break
        return highest(number) / 1000
