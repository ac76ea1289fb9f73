"""No error message about the settings contains a secret that was put into the wrong variable, in any form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ext_authz.net.listen_addresses import ListenError, of_worker
from oauth_core.errors import SettingsError
from oauth_core.net.quoted_addresses import quoted
from oauth_core.settings import (
    DEFINITIONS,
    KINDS,
    AuthzSettings,
    EnvoySettings,
    GatewaySettings,
    WebSettings,
    load,
)
from portcullis.envoy_config.topology import topology
from portcullis.programs.serving import parse_address
from tests.support.master_key import CHECK_KEYS, MASTER_KEY

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "S3cr3tHush"
"""A text that occurs in no message and in no name of a setting."""

SHAPES = (
    *(
        "{}",
        "{0}, {0}",
        "a,{}",
        "{} b",
        "{}/x",
        "a/{}/b",
        "{}#x",
        "a#{}",
        "*{}",
        "-{}",
        "é{}",
        "{}=",
        "{}:80",
        "x:{}",
    ),
    *(
        "127.0.0.1:{}",
        "localhost:{}",
        "[{}]:80",
        "[{}",
        "[::1]{}",
        "unix:{}",
        "unix:/run/x:{}",
        "/{}",
        "/run/{}/x",
    ),
    *(
        "https://{}",
        "https://{}/x",
        "https://[{}]",
        "https://[{}",
        "https://a.example:{}",
        "http://x:{}@a.example",
    ),
    *("https://{}@a.example/x", "https://x:a/{}@a.example", "https://a.example/{}", "https://a.example?k={}"),
    *("https://a.example#{}", "{}://a.example", "https:{}", "//{}", "redis://:{}@a.example:x/0", "redis://{}/x/y"),
    *(
        "redis+sentinel://{}",
        "rediss://x:{}@[::g]",
        "user_id={}!",
        "user_id=a,{}=b",
        "user_id=x-{0}\n",
        "{0}\n{0}",
    ),
    *("a@{}", "{}@a@b", "true{}", "1{}", "-----BEGIN {}-----", "{0}.{0}.{0}", "{}.example", "{}:x.example:x"),
)
"""Values that contain the secret, at least one for each form of a setting."""

GOOD = {
    "MASTER_KEY": MASTER_KEY,
    **CHECK_KEYS,
    "GITHUB_CLIENT_ID": "app",
    "GITHUB_CLIENT_SECRET": "other",
}
ONE_SERVICE = '[[services]]\nname = "time"\ncommand = ["mcp-server-time"]\n'
TEXTS = (
    f'issuer = "http://localhost:8080"\n{ONE_SERVICE}',
    f'base_domain = "example.com"\n{ONE_SERVICE}',
)
VARIABLES = [
    (kind, variable)
    for kind in KINDS
    for field in sorted(kind.model_fields)
    for variable in (field.upper(), *([f"{field.upper()}_FILE"] if DEFINITIONS[field].is_mounted else []))
]


def faults_of(kind: type[GatewaySettings], config: Path | None, environ: dict[str, str]) -> str:
    """The faults of the settings that a program reports before it opens anything; empty if there are none."""
    try:
        settings = load(kind, config, environ)
        if isinstance(settings, EnvoySettings):
            topology(settings)
        if isinstance(settings, WebSettings):
            parse_address(settings.web_listen)
        if isinstance(settings, AuthzSettings):
            for number in range(len(settings.authz_listen)):
                of_worker(
                    [text.replace(":80", ":x") for text in settings.authz_listen], number
                )  # looks no name up
    except (SettingsError, ListenError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("kind", "variable"), VARIABLES)
def test_no_fault_repeats_a_secret_from_the_wrong_variable(
    kind: type[GatewaySettings], variable: str, config: Path
) -> None:
    for text in TEXTS:
        config.write_text(text)
        for shape in SHAPES:
            value = shape.format(SECRET)
            assert SECRET.lower() not in faults_of(kind, config, GOOD | {variable: value}).lower(), value


@pytest.mark.parametrize("shape", SHAPES)
def test_no_fault_repeats_a_secret_in_place_of_the_settings_file(shape: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(WebSettings, None, GOOD | {"PORTCULLIS_CONFIG": shape.format(SECRET)})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://app.example.com", " 'https://app.example.com'"),
        ("https://app.example.com:8443/path?query", " 'https://app.example.com:8443…'"),
        ("https://*.example.com", " 'https://*.example.com'"),
        ("https://name:pass@app.example.com", " 'https://…@app.example.com'"),
        ("https://name:pa/ss@app.example.com", " 'https://…@app.example.com'"),
        ("htttp://app.example.com", " '…://app.example.com'"),
        ("http://[::1]:8080", " 'http://[::1]:8080'"),
        ("localhost:8080", " 'localhost:8080'"),
        ("0.0.0.0:99999", " '0.0.0.0:99999'"),
        ("http://[::1]:x", ""),
        ("app.example.com", ""),
        ("https://name", ""),
        ("https://a..b", ""),
        ("aGVhZGVy.cGF5bG9hZA.c2lnbmF0dXJl", ""),
    ],
)
def test_a_message_quotes_only_scheme_and_host_of_an_address(text: str, shown: str) -> None:
    assert quoted(text) == shown
