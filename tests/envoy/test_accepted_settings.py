"""For every setting that Portcullis accepts, it renders a configuration that Envoy accepts."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from oauth_core.errors import SettingsError
from oauth_core.settings import EnvoySettings
from oauth_core.settings.envoy import SMALLEST_BODY_BUFFER
from oauth_core.settings.identity_headers import IdentityHeaders
from portcullis.certificates import secret
from portcullis.envoy_config import render
from tests.support.certificates import Authority
from tests.support.envoy import envoy_path
from tests.support.property_tests import examples

if TYPE_CHECKING:
    from pathlib import Path

_WORDS = st.text(alphabet="abcdxyz0189", min_size=1, max_size=12)
_LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
_HOSTS = st.lists(_LABELS, min_size=1, max_size=4).map(".".join) | st.sampled_from(["[::1]", "127.0.0.1"])
_PORTS = st.integers(1, 65535)
_PATHS = st.lists(st.from_regex(r"[A-Za-z0-9._~!$&'()*+,=:@-]{1,12}", fullmatch=True), max_size=3).map(
    lambda parts: "".join(f"/{part}" for part in parts)
)
_HEADERS = st.lists(_WORDS, min_size=1, max_size=32).map("-".join).map(lambda name: f"x{name}"[:64].strip("-"))
_ORIGINS = st.builds(
    "{}://{}{}".format,
    st.sampled_from(["http", "https", "HTTPS", "app"]),
    _HOSTS,
    st.sampled_from(["", ":81", "/"]),
)
_URLS = st.builds("https://{}{}{}".format, _HOSTS, st.just("") | _PORTS.map(lambda port: f":{port}"), _PATHS)
_UPSTREAMS = (
    st.builds("{}://{}:{}{}".format, st.sampled_from(["http", "https"]), _HOSTS, _PORTS, _PATHS)
    | st.builds("unix:/run/{}.sock:/mcp".format, _WORDS)
)  # fmt: skip
_SERVICES = st.fixed_dictionaries(
    {"name": st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True), "upstream": _UPSTREAMS},
    optional={
        "url": _URLS | _PATHS,
        "assertion": st.booleans(),
        "permissions": st.just({"tools": {"*": "files.read"}}),
    },
)
_LISTENERS = st.builds("{}:{}".format, st.sampled_from(["127.0.0.1", "[::1]", "192.0.2.1", "[::]"]), _PORTS)
_PLACES = st.builds("{}:{}".format, _HOSTS, _PORTS) | st.builds("unix:/run/{}.sock".format, _WORDS)
_SETTINGS = st.fixed_dictionaries(
    {"issuer": _URLS, "services": st.lists(_SERVICES, min_size=1, max_size=3)},
    optional={
        "allowed_origins": st.lists(_ORIGINS, max_size=4),
        "identity_headers": st.fixed_dictionaries(
            {}, optional=dict.fromkeys(IdentityHeaders.model_fields, st.just("") | _HEADERS)
        ),
        "envoy_listen": st.lists(_LISTENERS, min_size=1, max_size=2),
        "web_upstream": st.lists(_PLACES, min_size=1, max_size=2),
        "authz_upstream": st.lists(_PLACES, min_size=1, max_size=2),
        "standin_upstream": _PLACES,
        "max_request_bytes": st.integers(SMALLEST_BODY_BUFFER, 256 * 1024 * 1024),
        "max_checked_bytes": st.integers(1024, 768 * 1024),
        "trusted_proxies": st.integers(0, 10),
        "web_rate": st.sampled_from([1, 500, 1_000_000]),
        "web_rate_per_address": st.sampled_from([1, 100, 1_000_000]),
        "connections_per_address": st.sampled_from([0, 1, 1000, 19_000]),
        "hsts_max_age": st.sampled_from([0, 1, 31_536_000]),
    },
)
_TLS = st.fixed_dictionaries(
    {},
    optional={
        "http_redirect_listen": st.lists(_LISTENERS, max_size=2),
        "tls_min_version": st.sampled_from(["1.2", "1.3"]),
        "tls_client_required": st.booleans(),
        "tls_client_pins": st.just(["ab" * 32, ":".join(["AB"] * 32)]),
        "certificate_bound_tokens": st.sampled_from(["off", "asked", "required"]),
    },
)
_LONG = "-".join(["ab"] * 21)
_MANY_WORDS = "-".join("a" * 32)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A certificate, its key and an authority, as existing files; Envoy reads them when it validates."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder, "authority")
    made = authority.identity("gate.example")
    (folder / "secret.json").write_text(json.dumps(secret.of_files(made.cert, made.key)), encoding="utf-8")
    authorities = secret.of_authorities_file(authority.cert)
    (folder / "client-authorities.json").write_text(json.dumps(authorities), encoding="utf-8")
    return {"tls_cert": made.cert, "tls_key": made.key, "tls_client_ca": authority.cert, "folder": folder}


def _services(**fields: object) -> dict[str, object]:
    return {"issuer": "https://auth.example", "services": [{"name": "a", "upstream": "http://a:1/mcp"} | fields]}


@pytest.mark.timeout(600)  # each example renders a configuration and starts an Envoy
@settings(examples(6), phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))
@given(_SETTINGS, st.none() | _TLS)
@example(_services() | {"identity_headers": {"user_id": "x-auth-request-user", "scope": ""}}, None)
@example(
    _services()
    | {
        "identity_headers": dict.fromkeys(IdentityHeaders.model_fields, "")
        | {"user_id": _LONG, "scope": _MANY_WORDS}
    },
    None,
)
@example(
    _services() | {"trusted_proxies": 2, "allowed_origins": [f"https://{n}.example" for n in range(60)]}, None
)
def test_every_accepted_setting_is_accepted_by_envoy(
    files: dict[str, Path], fields: dict[str, object], tls: dict[str, object] | None
) -> None:
    if tls is not None:
        fields = fields | tls | {name: path for name, path in files.items() if name.startswith("tls_")}
        fields["tls_secret"] = files["folder"] / "secret.json"
    try:
        rendered: Any = render(EnvoySettings.model_validate(fields), trusted_cas=str(files["tls_client_ca"]))
    except (ValidationError, SettingsError):
        assume(False)  # a refusal with a message, which other tests check
    config = files["folder"] / "envoy.json"
    config.write_text(json.dumps(rendered), encoding="utf-8")
    run = subprocess.run(
        [envoy_path(), "--mode", "validate", "-c", config], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
