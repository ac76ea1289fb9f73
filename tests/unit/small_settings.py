"""Small settings that load, and the faults of loading others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from oauth_core.errors import SettingsError
from oauth_core.settings import (
    GatewaySettings,
    WebSettings,
    load,
)
from tests.support.master_key import CHECK_KEYS, MASTER_KEY

if TYPE_CHECKING:
    from pathlib import Path

CHECK = CHECK_KEYS
ENVIRONMENT = {
    "MASTER_KEY": MASTER_KEY,
    "GITHUB_CLIENT_ID": "app",
    "GITHUB_CLIENT_SECRET": "github-hush",
    "REDIS_PASSWORD": "redis-hush",
}
ONE_SERVICE = '[[services]]\nname = "time"\ncommand = ["mcp-server-time"]\n'
LOCAL = f'issuer = "http://localhost:8080"\n{ONE_SERVICE}'


def web(config: Path, text: str = LOCAL, **environ: str) -> WebSettings:
    config.write_text(text)
    return load(WebSettings, config, {**ENVIRONMENT, **environ})


def faults(kind: type[GatewaySettings], config: Path, text: str, environ: dict[str, str]) -> tuple[str, ...]:
    config.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(kind, config, environ)
    return caught.value.faults
