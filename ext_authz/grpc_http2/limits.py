"""All limits of the HTTP/2 server of the check service: what one peer may send, and how much is kept for it.

`connection` announces the limits of frames, headers, streams and windows to each peer. The modules that name them
enforce them, and a violation ends the stream or the connection.
"""

from __future__ import annotations

# -- frames, headers and messages ---------------------------------------------------------------------------------

LARGEST_FRAME = 16_384
"""Bytes of payload that every peer must accept in one frame (RFC 9113 section 4.2). We send and read no more."""

LARGEST_HEADERS = 16 * 1024
"""Bytes of a call's own headers, as RFC 9113 section 6.5.2 counts them. The checked headers are in the message."""

LARGEST_FIELD_BLOCK = 2 * LARGEST_HEADERS
"""Compressed bytes of headers in all CONTINUATION frames together."""

LARGEST_MESSAGE = 1024 * 1024
"""Bytes of a Check. Envoy's own limit on all headers together is 60 KiB unless it is raised."""

# -- streams and buffered bytes of one connection -----------------------------------------------------------------

MOST_STREAMS = 1024
"""Open calls, and answers that the peer does not take yet."""

MOST_BUFFERED = 8 * LARGEST_MESSAGE
"""Bytes of unfinished messages."""

STREAM_WINDOW = LARGEST_MESSAGE + LARGEST_FRAME
"""Bytes of DATA that a stream may receive (section 5.2). A message fits, so no stream ever needs more room."""

CONNECTION_WINDOW = 4 * LARGEST_MESSAGE
"""Bytes of DATA that all streams together may receive before the peer waits for new room."""

MOST_ENDED_EARLY = 256
"""Streams that ended before their peer's last frame, and whose late frames are ignored."""

MOST_KNOWN_HEADERS = 256
"""Blocks of headers whose meaning is cached."""

# -- control frames: SETTINGS, PING, WINDOW_UPDATE, resets and others (`control_budget`) --------------------------

BURST = 5000
"""Units that a connection may spend at once. A control frame costs one: some two microseconds of work."""

RATE = 2000
"""Units a second that a connection gets back."""

PER_CALL = 2
"""Units that each new call adds: clients answer the data of a call with WINDOW_UPDATE and PING frames."""

RESET = 1 + PER_CALL
"""The cost of a stream that ends before its call is complete. It cancels the units that its call added."""

LOOKS = 16
"""Values of a SETTINGS frame, or waiting answers, that are processed for one unit."""

# -- all connections of a worker together -------------------------------------------------------------------------

LARGE = 8 * 1024
"""Bytes of a Check from which on it waits in the fair queue: reading it takes as long as several other answers."""

MOST_LARGE = 1024
"""Large Checks that may wait."""

BACKLOG = 1024
"""Connections that the kernel accepts before this program does."""
