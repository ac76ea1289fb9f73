"""The lifetimes of access tokens where the clients must refresh them during a test."""

from __future__ import annotations

LIFETIME = 5
"""The lifetime in seconds of an access token of the `short_lived` gateway."""

AGENT_LIFETIME = 60
"""The same where agents sign in: they need seconds from their start to the call of a tool."""
