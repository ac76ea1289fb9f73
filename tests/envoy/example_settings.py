"""Settings to render a configuration for: those of a single machine, and those of the production example."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from oauth_core.settings import EnvoySettings, load
from oauth_core.settings.services import ServiceSettings
from portcullis.envoy_config import render
from tests.support.project import ROOT

EXAMPLE = ROOT / "envoy" / "portcullis.example.toml"
LOCAL = EnvoySettings(
    issuer="http://localhost:8080",
    services=(
        ServiceSettings(name="time", command=("mcp-server-time",)),
        ServiceSettings(name="deep", url="/time/mcp/deep", upstream="http://deep:8000/mcp"),
        ServiceSettings(name="far", url="/far", upstream="https://far.example/mcp"),
    ),
    envoy_listen=("127.0.0.1:8080", "[::1]:8080"),
    standin_upstream="unix:/run/standin.sock",
    run_dir=Path("/run/portcullis"),
)
PRODUCTION = load(EnvoySettings, EXAMPLE, {})
_RENDERED: dict[str, str] = {}


def rendered(settings: EnvoySettings) -> Any:
    """The rendered configuration of these settings. It is rendered once, and each caller gets a new copy."""
    key = repr(settings)
    if key not in _RENDERED:
        _RENDERED[key] = json.dumps(render(settings))
    return json.loads(_RENDERED[key])
