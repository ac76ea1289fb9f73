"""Settings to render a configuration for: those of a single machine, and those of the production example."""

from __future__ import annotations

from pathlib import Path

from oauth_core.settings import EnvoySettings, load
from oauth_core.settings.services import ServiceSettings
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
