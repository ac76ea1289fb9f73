"""`docs/settings.md` lists every setting with its default, and none that does not exist."""

from __future__ import annotations

import re

from pydantic_core import PydanticUndefined

from oauth_core.settings import SECRETS, AuthzSettings, BackupSettings, EnvoySettings
from oauth_core.settings.services import ServiceSettings
from tests.support.project import ROOT

PAGE = ROOT / "docs" / "settings.md"
FIELDS = {
    name: field
    for kind in (BackupSettings, AuthzSettings, EnvoySettings, ServiceSettings)
    for name, field in kind.model_fields.items()
}
ROWS = {
    match[1]: (bool(match[2]), match[3].strip())
    for match in re.finditer(
        r"^\| `(\w+)`( \(secret\))? \| ([^|]*)\|", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
}


def test_every_setting_is_listed_and_no_other() -> None:
    assert ROWS.keys() == FIELDS.keys()


def test_secrets_are_marked() -> None:
    assert {name for name, (is_secret, _) in ROWS.items() if is_secret} == SECRETS


def test_plain_defaults_are_the_ones_in_the_code() -> None:
    for name, (_, shown) in ROWS.items():
        default = FIELDS[name].default
        value = re.fullmatch(r"`([^`<]+)`", shown)
        if value is None or default is None or default is PydanticUndefined:
            continue
        text = ",".join(default) if isinstance(default, tuple) else str(default)
        assert value[1] == (text.lower() if isinstance(default, bool) else text), name
