"""Addresses in the settings: which are accepted, which are refused, and that all faults are reported together."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.errors import SettingsError
from oauth_core.net.listen_addresses import TcpAddress, UnixAddress, parse
from oauth_core.settings import EnvoySettings
from oauth_core.settings.services import ServiceSettings
from portcullis.envoy_config.topology import Upstream, parse_upstream, topology


def _settings(**fields: object) -> EnvoySettings:
    service = ServiceSettings(name="time", upstream="http://127.0.0.1:1/mcp")
    return EnvoySettings.model_validate({"issuer": "http://localhost:8080", "services": (service,)} | fields)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:80", TcpAddress("127.0.0.1", 80)),
        ("[::1]:80", TcpAddress("::1", 80)),
        ("oauth_web:9000", TcpAddress("oauth_web", 9000)),
        ("authz.svc.cluster.local:9001", TcpAddress("authz.svc.cluster.local", 9001)),
        ("unix:/run/x.sock", UnixAddress(Path("/run/x.sock"))),
    ],
)
def test_an_address_of_our_programs_is_a_host_and_port_or_a_socket(text: str, place: object) -> None:
    assert parse(text) == place


@pytest.mark.parametrize(
    ("text", "upstream"),
    [
        ("http://time:8000/mcp", Upstream(TcpAddress("time", 8000), "time:8000", "/mcp")),
        ("http://time", Upstream(TcpAddress("time", 80), "time", "")),
        (
            "https://time.example/mcp/",
            Upstream(TcpAddress("time.example", 443), "time.example", "/mcp/", tls=True),
        ),
        ("http://[::1]:8000/mcp", Upstream(TcpAddress("::1", 8000), "[::1]:8000", "/mcp")),
        ("unix:/run/a.sock:/mcp", Upstream(UnixAddress(Path("/run/a.sock")), "localhost", "/mcp")),
        ("unix:/run/a:b.sock:/mcp/x", Upstream(UnixAddress(Path("/run/a:b.sock")), "localhost", "/mcp/x")),
    ],
)
def test_a_service_is_a_url_or_a_socket_with_a_path(text: str, upstream: Upstream) -> None:
    assert parse_upstream(text) == upstream


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "localhost:",
        "localhost:0",
        "localhost:65536",
        ":80",
        "a b:80",
        "user@host:80",
        "host:80/path",
        "http://host:80",
        "::1:80",
        "unix:relative.sock",
        "unix:/" + "x" * 107,
    ],
)
def test_any_other_text_is_refused_as_an_address(text: str) -> None:
    with pytest.raises(ValueError, match="is n"):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "time:8000",
        "ftp://time/mcp",
        "http://",
        "http://time:0/mcp",
        "http://user@time/mcp",
        "http://time/mcp?x=1",
        "http://time/mcp#x",
        "http://time/a/../b",
        "http://time//mcp",
        "http://time/a%2fb",
        "http://time/a\r\nb",
        "unix:/run/a.sock",
        "unix:a.sock:/mcp",
    ],
)
def test_any_other_text_is_refused_as_a_service(text: str) -> None:
    with pytest.raises(ValueError, match=r"is n|must|path"):
        parse_upstream(text)


@given(st.text(alphabet="unix:/host.[]@?#%\\ 0189\x00\r\n", max_size=40))
def test_any_text_is_parsed_or_refused_with_a_value_error(text: str) -> None:
    for read in (parse, parse_upstream):
        try:
            result = read(text)
        except ValueError:
            continue
        assert result == read(text)
        assert "\n" not in str(result)


@pytest.mark.parametrize(
    "admin",
    ["0.0.0.0:9901", "[::]:9901", "10.0.0.1:9901", "envoy:9901", "localhost.evil.example:1"],
)
def test_an_admin_interface_that_others_can_reach_is_refused(admin: str) -> None:
    with pytest.raises(SettingsError, match=r"envoy\.admin: .*is open to others"):
        topology(_settings(envoy_admin=admin))


@pytest.mark.parametrize("admin", ["127.0.0.1:9901", "127.9.9.9:1", "[::1]:9901", "localhost:9901", "unix:/run/a"])
def test_the_admin_interface_may_be_on_loopback_or_a_socket(admin: str) -> None:
    assert topology(_settings(envoy_admin=admin)).admin == parse(admin.replace("localhost", "127.0.0.1"))


def test_all_faults_are_reported_together() -> None:
    with pytest.raises(SettingsError) as caught:
        topology(
            _settings(
                envoy_listen=("example.com:80", "unix:/x"),
                envoy_admin="0.0.0.0:1",
                web_upstream="x",
                authz_upstream="y",
                standin_upstream="z",
                services=(ServiceSettings(name="time", upstream="w"),),
            )
        )
    faults = [fault.partition(":")[0] for fault in caught.value.faults]
    assert faults == [
        "envoy.listen",
        "envoy.listen",
        "envoy.admin",
        "envoy.web_upstream",
        "envoy.authz_upstream",
        "envoy.standin_upstream",
        "upstream of service time",
    ]


@pytest.mark.parametrize("name", ["web_upstream", "authz_upstream"])
@pytest.mark.parametrize("places", [(), ("web:9000", "web:9001", "WEB:9000")])
def test_each_of_our_programs_needs_an_address_and_no_duplicates(name: str, places: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match=rf"envoy\.{name}"):
        topology(_settings(**{name: places}))


@pytest.mark.parametrize("listen", [(), ("127.0.0.1:80", "127.0.0.1:80")])
def test_envoy_needs_a_listening_address_and_no_duplicates(listen: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match=r"envoy\.listen"):
        topology(_settings(envoy_listen=listen))
