"""The lifetime of access tokens where the clients must refresh them during a test."""

from __future__ import annotations

LIFETIME = 5
"""Seconds that an access token of the `short_lived` gateway lives."""
