"""Words for the kinds of records in Redis, for the output of commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_WORDS = {
    "grant": ("grant", "grants"),
    "client": ("client", "clients"),
    "user": ("person", "people"),
    "login": ("recorded login", "recorded logins"),
    "consents": ("person's consents", "people's consents"),
    "initial-access-token": ("invitation", "invitations"),
    "block": ("block", "blocks"),
    "disabled-client": ("disabled client", "disabled clients"),
    "cut": ("revocation cutoff", "revocation cutoffs"),
    "ended": ("note of an ended record", "notes of ended records"),
    "assertion": ("used assertion", "used assertions"),
    "keyring": ("key ring", "key rings"),
    "isolated-services": ("list of disabled services", "lists of disabled services"),
    "session": ("session", "sessions"),
    "pending": ("waiting sign-in", "waiting sign-ins"),
    "signin": ("redirect to GitHub", "redirects to GitHub"),
    "code": ("authorization code", "authorization codes"),
    "device": ("device code", "device codes"),
    "device-code": ("user code", "user codes"),
    "document": ("client document", "client documents"),
}
"""By the family of the key (`oauth_core.store.maintenance.snapshot.family`): for one, and for several."""


def format_counts(counts: Mapping[str, int]) -> str:
    """`counts` by family as "2 grants, 1 client"; "nothing" if there is none."""
    known = [kind for kind in _WORDS if counts.get(kind)]
    parts = [f"{counts[kind]} {_WORDS[kind][counts[kind] != 1]}" for kind in known]
    return ", ".join(parts) or "nothing"
