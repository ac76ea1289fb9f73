"""Writes the tables of settings in the pages, from the definitions in the code.

`python -m tests.project.docs.settings_reference` writes them again; with `--check` it fails if one is not fresh.
A page has a table between `<!-- settings: NAME -->` and `<!-- end -->`. NAME is a table of the settings file, or
`top` for what stands above all tables.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticUndefined

from oauth_core.settings import KINDS
from oauth_core.settings.definitions import Definition, definitions
from oauth_core.settings.identity_headers import IdentityHeaders
from oauth_core.settings.roles import PermissionSettings, RoleSettings
from oauth_core.settings.services import ServiceSettings
from oauth_core.settings.trusted_issuers import TrustedIssuerSettings
from tests.support.project import ROOT

if TYPE_CHECKING:
    from pydantic import BaseModel

DOCS = ROOT / "docs"
PAGES = (DOCS / "settings.md", DOCS / "enterprise.md")

TOP = "top"
OF_STRUCTURES: dict[str, type[BaseModel]] = {
    "services": ServiceSettings,
    "services.permissions": PermissionSettings,
    "roles": RoleSettings,
    "identity_headers": IdentityHeaders,
    "trusted_issuers": TrustedIssuerSettings,
}
_MARKED = re.compile(r"(<!-- settings: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def tables() -> dict[str, str]:
    """Every table, in Markdown, by its name."""
    rows: dict[str, list[str]] = {}
    schemas = {name: schema for kind in KINDS for name, schema in _properties(kind).items()}
    for definition in definitions(KINDS).values():
        rows.setdefault(definition.table or TOP, []).append(
            _row(definition, schemas[definition.name], definition.name)
        )
    for name, kind in OF_STRUCTURES.items():
        fields = definitions([kind]).values()
        rows[name] = [_row(field, _properties(kind)[field.name], field.name) for field in fields]
    head = "| setting | type | unit | default | meaning |\n|---|---|---|---|---|\n"
    return {name: head + "".join(found) for name, found in rows.items()}


def filled(page: str) -> str:
    """The text of a page with every table in it made anew."""
    made = {name: _flat(table) for name, table in tables().items()}
    return _MARKED.sub(lambda found: f"{found[1]}{made[found[2]]}{found[3]}", page)


def _flat(text: str) -> str:
    """The text with the names that the settings file has today."""
    for definition in definitions(KINDS).values():
        text = text.replace(f"`{definition.key}`", f"`{definition.name}`")
    return text.replace("`check.tls_…`", "`authz_tls_…`").replace("`envoy.authz_upstream_…`", "`authz_upstream_…`")


def marked(page: str) -> list[str]:
    """The names of the tables that a page has."""
    return [found[2] for found in _MARKED.finditer(page)]


def _properties(kind: type[BaseModel]) -> dict[str, Any]:
    found: dict[str, Any] = kind.model_json_schema()["properties"]
    return found


def _row(definition: Definition, schema: dict[str, Any], name: str) -> str:
    setting = definition.setting
    meaning = f"{setting.meaning} ({setting.standard})" if setting.standard else setting.meaning
    shown = f"`{name}`{' (secret)' if definition.is_secret else ''}"
    return f"| {shown} | {_kind(definition, schema)} | {setting.unit} | {_default(definition)} | {meaning} |\n"


def _default(definition: Definition) -> str:
    if definition.setting.shown:
        return definition.setting.shown
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


def _kind(definition: Definition, schema: dict[str, Any]) -> str:
    """The type in words, with what bounds it."""
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


def main(arguments: list[str]) -> int:
    """Write the pages, or see that they are fresh; the exit code."""
    stale = [
        page for page in PAGES if filled(page.read_text(encoding="utf-8")) != page.read_text(encoding="utf-8")
    ]
    if "--check" in arguments:
        for page in stale:
            sys.stderr.write(f"{page} is stale: run python -m tests.project.docs.settings_reference\n")
        return 1 if stale else 0
    for page in stale:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
