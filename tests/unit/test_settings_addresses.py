"""The addresses in the settings: one spelling each, sensible defaults, and the detection of loopback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.errors import SettingsError
from oauth_core.net.public_urls import check_public_url, is_loopback
from oauth_core.settings import AuthzSettings, GatewaySettings, WebSettings, load
from tests.unit.small_settings import CHECK, ONE_SERVICE, faults, web

if TYPE_CHECKING:
    from pathlib import Path


def test_a_base_domain_names_the_issuer_and_the_services(config: Path) -> None:
    config.write_text(ONE_SERVICE)
    settings = load(AuthzSettings, config, {**CHECK, "BASE_DOMAIN": "example.com"})
    assert settings.issuer == "https://auth.example.com"
    assert [service.resource for service in settings.resolved_services] == ["https://time.example.com/mcp"]
    assert not settings.is_local


def test_an_explicit_issuer_overrides_the_base_domain(config: Path) -> None:
    # In the same place; a BASE_DOMAIN in the environment overrides an issuer in the file.
    config.write_text(f'base_domain = "example.com"\nissuer = "https://login.example.org"\n{ONE_SERVICE}')
    assert load(AuthzSettings, config, CHECK).issuer == "https://login.example.org"


def test_a_service_has_sensible_defaults(config: Path) -> None:
    (service,) = web(config, RUN_DIR="/run/here").resolved_services
    assert service.resource == "http://localhost:8080/time/mcp"
    assert service.scope == "mcp.time"
    assert service.title == "time"
    assert service.upstream == "unix:/run/here/service-time.sock:/mcp"


def test_settings_without_issuer_and_domain_are_a_fault(config: Path) -> None:
    (fault,) = faults(AuthzSettings, config, ONE_SERVICE, CHECK)
    assert fault.startswith("issuer is not set")


def test_an_issuer_may_have_a_path_and_services_are_beside_it(config: Path) -> None:
    config.write_text(f'issuer = "https://example.com/auth"\n{ONE_SERVICE}')
    (service,) = load(AuthzSettings, config, CHECK).resolved_services
    assert service.resource == "https://example.com/time/mcp"


@pytest.mark.parametrize(
    "path",
    ["/.well-known", "/.well-known/x", "/_github/x", "/healthz", "/auth/", "/a//b", "/a/../b", "/%61", "/a?b"],
)
def test_an_issuer_with_an_invalid_path_is_refused(config: Path, path: str) -> None:
    (fault,) = faults(AuthzSettings, config, f'issuer = "https://example.com{path}"\n{ONE_SERVICE}', CHECK)
    assert "issuer" in fault


@pytest.mark.parametrize(
    "url", ["/auth", "/auth/mcp", "/auth/token", "/.well-known/mcp", "/_github", "https://example.com", "/a"]
)
def test_no_service_may_be_below_or_above_the_path_of_an_issuer(config: Path, url: str) -> None:
    issuer = "https://example.com/a/auth" if url == "/a" else "https://example.com/auth"
    text = f'issuer = "{issuer}"\n{ONE_SERVICE}url = "{url}"\n'
    (fault,) = faults(AuthzSettings, config, text, CHECK)
    assert "takes a path of the authorization server" in fault


@pytest.mark.parametrize("url", ["/authority", "/token", "/authorize", "/callback/mcp"])
def test_every_path_beside_that_of_the_issuer_is_free(config: Path, url: str) -> None:
    config.write_text(f'issuer = "https://example.com/auth"\n{ONE_SERVICE}url = "{url}"\n')
    (service,) = load(AuthzSettings, config, CHECK).resolved_services
    assert service.resource == f"https://example.com{url}"


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com:8443/mcp",
        "https://xn--mnchen-3ya.example/a/b-c_d~e",
        "https://[2001:db8::1]/mcp",
        "http://localhost:8080",
        "http://127.0.0.1:1/x",
        "http://[::1]:1/x",
    ],
)
def test_a_url_in_its_canonical_spelling_is_accepted(url: str) -> None:
    assert check_public_url(url, what="it") == url


@pytest.mark.requirement("rfc8414:issuer")
@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "/mcp",
        "ftp://example.com",
        "http://example.com",
        "http://127.0.0.1.example.com",
        "http://0.0.0.0",
        "https://Example.com",
        "https://user@example.com",
        "https://@example.com",
        "https://example.com/",
        "https://example.com/mcp/",
        "https://example.com//mcp",
        "https://example.com/./mcp",
        "https://example.com/../mcp",
        "https://example.com/%6dcp",
        "https://example.com/m;x=1",
        "https://example.com\\mcp",
        "https://example.com?",
        "https://example.com#",
        "https://example.com/?q",
        "https://example.com:443",
        "http://localhost:80",
        "https://example.com:",
        "https://example.com:08443",
        "https://example.com:0",
        "https://example.com:99999",
        "https://example.com.",
        "https://.example.com",
        "https://exa mple.com",
        "https://example.com/m cp",
        "https://exa\nmple.com",
        "https://example.com\n",
        "https://m\u00fcnchen.example",
        "https://example.com/\u00e9",
        'https://exa"mple.com',
        "https://a,b.example",
        "https://[::1",
        "https://",
    ],
)
def test_any_other_spelling_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^it "):
        check_public_url(url, what="it")


@given(st.text(), st.text())
def test_any_url_is_returned_unchanged_or_is_a_value_error(host: str, path: str) -> None:
    for url in (host, f"https://{host}", f"https://{host}/{path}", f"http://localhost:{host}/{path}"):
        try:
            checked = check_public_url(url, what="it")
        except ValueError:
            continue
        assert checked == url
        assert url.isascii()
        assert url.isprintable()


@pytest.mark.requirement("mcp:https", "oauth21:tls", "rfc6750:tls")
@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:1", True),
        ("http://127.0.0.1", True),
        ("http://127.9.9.9", True),
        ("http://[::1]", True),
        ("http://localhost.example.com", False),
        ("http://10.0.0.1", False),
        ("http://0.0.0.0", False),
        ("https://example.com", False),
        ("", False),
    ],
)
def test_loopback_is_this_machine_only(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(sorted(WebSettings.model_fields)).map(str.upper), st.text(max_size=20)))
def test_any_environment_is_usable_or_a_settings_error(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError):  # they never contain a service
        load(WebSettings, None, environ)


@given(st.one_of(VALUES, st.fixed_dictionaries({"name": VALUES, "command": VALUES, "url": VALUES})))
def test_any_service_is_usable_or_a_value_error(service: Any) -> None:
    try:
        settings = GatewaySettings.model_validate({"issuer": "http://localhost", "services": [service]})
    except ValueError:
        return
    (resolved,) = settings.resolved_services
    assert check_public_url(resolved.resource, what="it") == resolved.resource


@pytest.mark.parametrize(
    ("url", "fits"),
    [("/device", False), ("/device/mcp", False), ("/devices/mcp", True), ("/tokens/mcp", True), ("/token", False)],
)
def test_a_service_path_may_begin_like_an_endpoint_but_not_be_below_it(
    config: Path, url: str, *, fits: bool
) -> None:
    config.write_text(f'[[services]]\nname = "t"\ncommand = ["x"]\nurl = "{url}"\n')
    settings = {"ISSUER": "https://auth.example.com"}
    if fits:
        assert load(GatewaySettings, config, settings).resolved_services[0].resource.endswith(url)
    else:
        with pytest.raises(SettingsError, match="path of the authorization server"):
            load(GatewaySettings, config, settings)
