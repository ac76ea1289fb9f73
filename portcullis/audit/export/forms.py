"""The forms of an export, by name. Each makes one line of text from an event."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from portcullis.audit.export import ecs, ocsf

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from portcullis.audit.reading import StoredEvent


def own(event: StoredEvent, *, is_sealed: bool) -> dict[str, Any]:
    """Return the event with its place and whether it is sealed, as `search --json` prints it."""
    place = {"node": event.node, "writer": event.writer, "boot": event.boot, "sequence": event.sequence}
    return {**event.fields, **place, "sealed": is_sealed}


LINES: dict[str, Callable[..., dict[str, Any]]] = {"jsonl": own, "ocsf": ocsf.document, "ecs": ecs.document}
"""The functions of the forms that are lines of JSON."""


def line(document: dict[str, Any]) -> str:
    """Return a document as one line of JSON in ASCII, without a line break."""
    return json.dumps(document, separators=(",", ":"))
