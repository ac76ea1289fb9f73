"""Writes the page of audit events and the JSON Schema of a stored event, from `oauth_core.audit`.

`python -m tests.project.docs.audit_reference` writes them again; with `--check` it fails if one is outdated.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
import typing
from types import NoneType
from typing import Any

from oauth_core import audit
from oauth_core.audit import FIELDS, FORMAT, LONGEST_LOGGED, LONGEST_REASON, AuditEvent, EventKind, Outcome
from tests.support.project import ROOT

GENERATED = ROOT / "docs" / "generated"
PAGE = GENERATED / "audit-events.md"
SCHEMA = GENERATED / "audit-event.schema.json"

_TYPES = {str: "string", int: "integer", bool: "boolean"}
_LONG = {"reason", "scope"}


_INTRODUCTION = f"""\
# Audit events

A program writes this page from `oauth_core/audit.py`: `python -m tests.project.docs.audit_reference`.
[The audit record](../audit.md) says where events are.

A stored event is one line of JSON: `v` ({FORMAT}), `time` (RFC 3339, UTC), `event`, `outcome`, then the fields
that apply. [The JSON Schema](audit-event.schema.json) is beside this page. The outcome is `{Outcome.INTENT}`
in a line that is written before the action.
"""


def meanings() -> dict[str, str]:
    """The meaning of each field of a stored event: the text that follows it in `AuditEvent`."""
    (tree,) = ast.parse(inspect.getsource(AuditEvent)).body
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for field, text in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert isinstance(field.target, ast.Name)
            assert isinstance(text.value, ast.Constant)
            found[field.target.id] = " ".join(str(text.value.value).split())
    assert tuple(found) == FIELDS, "a text with the meaning follows each field of AuditEvent"
    return found


def page() -> str:
    """The page, in Markdown."""
    lines = [
        _INTRODUCTION,
        "| event | outcome | meaning |",
        "|---|---|---|",
        *(f"| `{kind}` | `{kind.outcome}` | {kind.meaning} |" for kind in EventKind),
        "",
        "| field | type | meaning |",
        "|---|---|---|",
        *(f"| `{name}` | {_types()[name]} | {meaning} |" for name, meaning in meanings().items()),
        "",
        f"Texts have at most {LONGEST_LOGGED} characters, `{'` and `'.join(sorted(_LONG))}` {LONGEST_REASON}.",
        "",
    ]
    return "\n".join(lines)


def schema() -> str:
    """The JSON Schema."""
    types = _types()
    fields: dict[str, Any] = {}
    for name, meaning in meanings().items():
        fields[name] = {"description": meaning, "type": types[name]}
        if types[name] == "string":
            fields[name]["maxLength"] = LONGEST_REASON if name in _LONG else LONGEST_LOGGED
    return (
        json.dumps(
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "title": "An event of the audit record of Portcullis",
                "type": "object",
                "properties": {
                    "v": {"description": "The version of this schema.", "const": FORMAT},
                    "time": {"description": "RFC 3339, in UTC.", "type": "string", "format": "date-time"},
                    "event": {
                        "description": "What happened.",
                        "oneOf": [{"const": str(kind), "description": kind.meaning} for kind in EventKind],
                    },
                    "outcome": {"description": "How it ended.", "enum": [str(each) for each in Outcome]},
                    **fields,
                },
                "required": ["v", "time", "event", "outcome"],
                "additionalProperties": False,
            },
            indent=2,
        )
        + "\n"
    )


def _types() -> dict[str, str]:
    """The JSON type of each field."""
    hints = typing.get_type_hints(AuditEvent, vars(audit))
    kinds = {name: [kind for kind in typing.get_args(hints[name]) if kind is not NoneType] for name in FIELDS}
    return {name: _TYPES[kind] for name, (kind,) in kinds.items()}


def main() -> int:
    """Write the files again, or check that they are up to date."""
    stale = [path for path, made in ((PAGE, page()), (SCHEMA, schema())) if not _is_fresh(path, made)]
    if "--check" in sys.argv[1:]:
        sys.stderr.writelines(
            f"{path} is stale: run python -m tests.project.docs.audit_reference\n" for path in stale
        )
        return 1 if stale else 0
    PAGE.write_text(page(), encoding="utf-8")
    SCHEMA.write_text(schema(), encoding="utf-8")
    return 0


def _is_fresh(path: Any, made: str) -> bool:
    return bool(path.exists()) and path.read_text(encoding="utf-8") == made


if __name__ == "__main__":
    sys.exit(main())
