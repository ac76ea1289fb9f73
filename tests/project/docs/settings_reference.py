"""Writes the tables of settings in the pages and the JSON Schema of the settings file, from the definitions.

`python -m tests.project.docs.settings_reference` writes them again; with `--check` it fails if one is outdated.
A page has a table between `<!-- settings: NAME -->` and `<!-- end -->`. NAME is a table of the settings file,
or `top` for the settings before all tables.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticUndefined

from oauth_core.settings import DEFINITIONS, KINDS
from oauth_core.settings.alerting import AlertDestination
from oauth_core.settings.audit_sinks import AuditSink
from oauth_core.settings.definitions import Definition, definitions
from oauth_core.settings.detecting import AutomaticResponse
from oauth_core.settings.identity_headers import IdentityHeaders
from oauth_core.settings.json_schema import file_schema
from oauth_core.settings.roles import PermissionSettings, RoleSettings
from oauth_core.settings.services import ServiceSettings
from oauth_core.settings.trusted_issuers import TrustedIssuerSettings
from tests.support.project import ROOT

if TYPE_CHECKING:
    from pydantic import BaseModel

DOCS = ROOT / "docs"
SCHEMA = ROOT / "oauth_core" / "settings" / "portcullis.schema.json"
PAGES = (DOCS / "settings.md", DOCS / "enterprise.md")

TOP = "top"
OF_STRUCTURES: dict[str, type[BaseModel]] = {
    "services": ServiceSettings,
    "services.permissions": PermissionSettings,
    "roles": RoleSettings,
    "identity_headers": IdentityHeaders,
    "alerts.destinations": AlertDestination,
    "audit.sinks": AuditSink,
    "detection.responses": AutomaticResponse,
    "trusted_issuers": TrustedIssuerSettings,
}
_MARKED = re.compile(r"(<!-- settings: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def tables() -> dict[str, str]:
    """Every table, in Markdown, by its name."""
    made: dict[str, str] = {}
    for definition in DEFINITIONS.values():
        name = definition.table or TOP
        row = _row(definition, _SCHEMAS[definition.name], with_variable=True)
        made[name] = made.get(name, _head("setting", "variable", "type", "unit", "default", "meaning")) + row
    for name, kind in OF_STRUCTURES.items():
        rows = [
            _row(key, _properties(kind)[key.name], with_variable=False) for key in definitions([kind]).values()
        ]
        made[name] = _head("key", "type", "unit", "default", "meaning") + "".join(rows)
    return made


def _head(*columns: str) -> str:
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"


def filled(page: str) -> str:
    """The text of a page with every table written again."""
    made = tables()
    return _MARKED.sub(lambda found: f"{found[1]}{made[found[2]]}{found[3]}", page)


def marked(page: str) -> list[str]:
    """The names of the tables that a page has."""
    return [found[2] for found in _MARKED.finditer(page)]


def _properties(kind: type[BaseModel]) -> dict[str, Any]:
    found: dict[str, Any] = kind.model_json_schema()["properties"]
    return found


_SCHEMAS = {name: schema for kind in KINDS for name, schema in _properties(kind).items()}


def _row(definition: Definition, schema: dict[str, Any], *, with_variable: bool) -> str:
    setting = definition.setting
    meaning = f"{setting.meaning} ({setting.standard})" if setting.standard else setting.meaning
    cells = [f"`{definition.key}`{' (secret)' if definition.is_secret else ''}"]
    if with_variable:
        cells.append(f"`{definition.variable}`" if definition.has_variable else "")
    cells += [_kind(schema), setting.unit, _default(definition), meaning]
    return f"| {' | '.join(cells)} |\n"


def _default(definition: Definition) -> str:
    if definition.setting.default_text:
        return definition.setting.default_text
    default = definition.field.default
    if definition.field.is_required():
        return "required"
    if default is PydanticUndefined or default is None or default in ((), ""):
        return "none"
    if isinstance(default, tuple):
        return f"`{','.join(default)}`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


_WORDS = {
    "string": "text",
    "boolean": "`true` or `false`",
    "object": "table",
    "integer": "integer",
    "number": "number",
}


def _kind(schema: dict[str, Any]) -> str:
    """The type in words, with its limits."""
    choices = [part for part in schema.get("anyOf", [schema]) if part.get("type") != "null"]
    if any("$ref" in part for part in choices):
        return "table"
    last = choices[-1]
    if "enum" in last:
        return ", ".join(f"`{value}`" for value in last["enum"])
    if last["type"] == "array":
        return "tables" if "$ref" in last["items"] else "list"
    word = "path" if last.get("format") == "path" else _WORDS[last["type"]]
    return f"{word}{_bounds(last)}"


def _bounds(schema: dict[str, Any]) -> str:
    low, above, high = (schema.get(name) for name in ("minimum", "exclusiveMinimum", "maximum"))
    words = [f"at least {low}"] if low is not None else []
    words += [f"more than {above}"] if above is not None else []
    words += [f"at most {high}"] if high is not None else []
    return "".join(f", {word}" for word in words)


def schema() -> str:
    """The text of the JSON Schema."""
    return json.dumps(file_schema(KINDS, DEFINITIONS), indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Write the pages and the schema, or check that they are up to date. Return the exit code."""
    wanted = {page: filled(page.read_text(encoding="utf-8")) for page in PAGES} | {SCHEMA: schema()}
    stale = {
        path: text
        for path, text in wanted.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    if "--check" in arguments:
        for path in stale:
            sys.stderr.write(f"{path} is stale: run python -m tests.project.docs.settings_reference\n")
        return 1 if stale else 0
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
