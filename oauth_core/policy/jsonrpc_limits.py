"""The limits of the JSON-RPC body of an MCP request, and of answers with lists: bytes, depth, names and URIs.

`mcp_request` and `list_answers` enforce them with `strict_json`. An operator can set the bytes of a request
(`settings.envoy`): the check service refuses a body with more, and Envoy holds little more than that. Resource
URIs have a limit of their own for the ways to read one of them (`resource_uris`), and ids for what an answer
repeats of them (`jsonrpc_errors`).
"""

from __future__ import annotations

from oauth_core.policy.resource_uris import MOST_WAYS

CHECKED_BYTES = 128 * 1024
"""Bytes of a body that tool rules read, unless the operator sets another number (`envoy.max_checked_bytes`)."""

MOST_CHECKED_BYTES = 768 * 1024
"""The largest number of bytes that an operator can set. The check with all headers must fit into 1 MiB."""

DEEPEST = 32
"""Levels of values, the whole body included."""

DEEPEST_IN_ANSWER = 100
"""Levels of values in an answer with a list: the schema of one argument of a tool nests deeper than a request."""

ANSWER_BYTES = 1024 * 1024
"""Bytes of an answer with a list, or of one event in a stream. The filter holds so many of each answer."""

MOST_ENTRIES = 5000
"""Entries of the lists in one answer. Each is evaluated, so this limits the work for one answer."""

LONGEST_INTEGER = 100
"""Characters, with the sign."""

LONGEST_METHOD = 128
"""Characters."""

LONGEST_NAME = 2048
"""Characters of the name of a tool or a prompt, or of a URI."""

MOST_URIS = 100
"""Resources in one subscription. Each is evaluated, so this limits the work for one request."""

MOST_WAYS_TOGETHER = 10 * MOST_WAYS
"""Ways to read all the resources of one subscription together: a hundred plain URIs have fewer."""
