"""The limits of filtered answers in one worker: their number, the bytes that they hold, and the time of one.

One caller can open many requests for lists, and a service can answer slowly or without an end. `answer_filter`
enforces these limits. `jsonrpc_limits.ANSWER_BYTES` limits the bytes of one list.
"""

from __future__ import annotations

MOST_OPEN = 4096
"""Answers that are filtered at the same time. A resumed event stream is one for as long as it is open."""

MOST_OPEN_OF_ONE = 256
"""The same for one caller. A program that acts for many people is one caller."""

MOST_BYTES = 64 * 1024 * 1024
"""Bytes that all answers hold: what was received and not sent yet."""

MOST_BYTES_OF_ONE = 8 * 1024 * 1024
"""The same for one caller."""

LONGEST_SECONDS = 60.0
"""Seconds in which a list that is no event stream must be complete, from its headers on."""

LARGE = 8 * 1024
"""Bytes from which on a list waits in the fair queue: reading it takes as long as several checks."""

VERY_LARGE = 64 * 1024
"""Bytes from which on a list is read in a thread: a hostile one of the largest size takes half a second."""

MOST_LARGE = 1024
"""Large lists that may wait."""
