"""The guarded fetch by itself, where a test must set the answers of the name servers."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from oauth_core.net.special_addresses import is_loopback
from oauth_web.client_documents.fetch import (
    Fetched,
    FetchError,
    GuardedFetcher,
    fresh_for,
    with_authorities_of,
)
from oauth_web.client_documents.names import resolve
from tests.support.publisher import Page, Publisher, running_publisher

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Iterator, Sequence


@pytest.fixture(scope="module")
def publisher() -> Iterator[Publisher]:
    with running_publisher() as publisher:
        publisher.put("/a.json", {"fine": True})
        yield publisher


async def fetched(
    publisher: Publisher,
    url: str,
    *answers: str,
    tls: ssl.SSLContext | None = None,
    allow_loopback: bool = True,
    seconds: float = 20.0,
) -> Fetched:
    """The document at `url`, where every name lookup returns `answers`."""

    async def same(_host: str) -> Sequence[str]:
        return answers

    return await with_resolver(publisher, url, same, tls=tls, allow_loopback=allow_loopback, seconds=seconds)


async def with_resolver(
    publisher: Publisher,
    url: str,
    resolver: Callable[[str], Awaitable[Sequence[str]]],
    *,
    tls: ssl.SSLContext | None = None,
    allow_loopback: bool = True,
    seconds: float = 20.0,
) -> Fetched:
    fetcher = GuardedFetcher(
        allow_loopback=allow_loopback,
        tls=tls or with_authorities_of(publisher.ca_file),
        resolver=resolver,
        total_seconds=seconds,
    )
    return await fetcher.fetch(url)


@pytest.mark.requirement("mcp:cimd-security")
@pytest.mark.requirement("best-practices:ssrf")
async def test_the_connection_goes_to_the_address_that_was_checked(publisher: Publisher) -> None:
    """A name that changes after the check, as in DNS rebinding, is not looked up a second time."""
    answers = iter([["127.0.0.1"], ["10.0.0.1"], ["10.0.0.1"]])
    looked_up: list[str] = []

    async def changing(host: str) -> Sequence[str]:
        looked_up.append(host)
        return next(answers)

    url = f"https://rebind.example:{publisher.port}/a.json"
    assert (await with_resolver(publisher, url, changing)).body == b'{"fine": true}'
    assert looked_up == ["rebind.example"]
    assert publisher.asked[-1][1]["host"] == f"rebind.example:{publisher.port}"
    assert publisher.names[-1] == "rebind.example"


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The targets of this process's connections.

    A connection that would leave the machine fails, and no name is looked up.
    """
    found: list[tuple[str, int]] = []
    connect = socket.socket.connect

    def watched(self: socket.socket, address: Any) -> None:
        found.append((address[0], address[1]))
        if not is_loopback(address[0]):
            raise OSError(errno.ENETUNREACH, "no way out of a test")
        connect(self, address)

    def asked(name: object, *_: object, **__: object) -> None:
        raise AssertionError(f"{name} was looked up once more")

    monkeypatch.setattr(socket.socket, "connect", watched)
    monkeypatch.setattr(socket, "getaddrinfo", asked)
    return found


@pytest.mark.requirement("mcp:cimd-security")
async def test_a_name_with_an_internal_address_after_the_check_is_not_reached_and_refused_next_time(
    publisher: Publisher, connected: list[tuple[str, int]]
) -> None:
    """DNS rebinding: a public address for the check, and for a second lookup this machine, where
    the document is.
    """
    answers = iter([["93.184.215.14"], ["127.0.0.1"], ["93.184.215.14", "127.0.0.1"]])
    url, before = f"https://rebind.example:{publisher.port}/a.json", len(publisher.asked)

    async def changing(_host: str) -> Sequence[str]:
        return next(answers)

    with pytest.raises(FetchError, match="ConnectError"):
        await with_resolver(publisher, url, changing, allow_loopback=False)
    assert connected == [("93.184.215.14", publisher.port)]
    for _ in range(2):
        with pytest.raises(FetchError, match="not public"):
            await with_resolver(publisher, url, changing, allow_loopback=False)
    assert len(connected) == 1
    assert len(publisher.asked) == before


@pytest.mark.parametrize(("port", "reached"), [("", 443), (":443", 443), (":8443", 8443), (":65535", 65535)])
async def test_the_connection_goes_to_the_port_of_the_url(
    publisher: Publisher, connected: list[tuple[str, int]], port: str, reached: int
) -> None:
    looked_up: list[str] = []

    async def resolver(host: str) -> Sequence[str]:
        looked_up.append(host)
        return ["93.184.215.14", "93.184.215.15"]

    with pytest.raises(FetchError, match="ConnectError"):
        await with_resolver(publisher, f"https://a.example{port}/a.json", resolver, allow_loopback=False)
    assert looked_up == ["a.example"]
    assert connected == [("93.184.215.14", reached)]


@pytest.mark.requirement("cimd:ssrf")
@pytest.mark.parametrize("allow_loopback", [True, False])
@pytest.mark.parametrize(
    "answers",
    [
        ["10.0.0.1"], ["127.0.0.1", "10.0.0.1"], ["8.8.8.8", "127.0.0.1", "fd00::1"], ["fe80::1%eth0"], [], ["x"],
        ["8.8.8.8", "10.0.0.1"], ["10.0.0.1", "8.8.8.8"], ["2606:4700::1111", "192.168.0.1"], ["8.8.8.8", ""],
        # IPv4 inside IPv6: mapped, 6to4, NAT64 with either prefix, Teredo, ISATAP.
        ["::ffff:127.0.0.1"], ["::ffff:8.8.8.8"], ["8.8.8.8", "::ffff:10.0.0.1"], ["2002:7f00:1::"],
        ["64:ff9b::7f00:1"], ["64:ff9b::808:808"], ["64:ff9b:1::a00:1"], ["2001::1"], ["2606:4700::5efe:7f00:1"],
        ["2002:a00:1::1"], ["8.8.8.8."], ["169.254.169.254"], ["168.63.129.16"],
    ],
)  # fmt: skip
@pytest.mark.requirement("best-practices:ssrf")
async def test_a_name_with_one_special_address_is_refused(
    publisher: Publisher, connected: list[tuple[str, int]], answers: list[str], allow_loopback: bool
) -> None:
    url = f"https://rebind.example:{publisher.port}/a.json"
    with pytest.raises(FetchError, match="not public"):
        await fetched(publisher, url, *answers, allow_loopback=allow_loopback)
    assert connected == []


@pytest.mark.parametrize("host", ["a..example", f"{'a' * 64}.example"])
async def test_an_invalid_name_is_a_fetch_error(publisher: Publisher, host: str) -> None:
    with pytest.raises(FetchError):
        await with_resolver(publisher, f"https://{host}/a.json", resolve, allow_loopback=False)


async def test_loopback_is_refused_by_name_and_by_address_unless_allowed(publisher: Publisher) -> None:
    for host in ("rebind.example", "127.0.0.1", "localhost"):
        with pytest.raises(FetchError, match="not public"):
            await fetched(publisher, f"https://{host}:{publisher.port}/a.json", "127.0.0.1", allow_loopback=False)


async def test_the_certificate_must_be_for_the_name_and_not_for_the_address(publisher: Publisher) -> None:
    with pytest.raises(FetchError, match="ConnectError"):
        await fetched(publisher, f"https://other.example:{publisher.port}/a.json", "127.0.0.1")


async def test_a_certificate_of_an_unknown_authority_is_refused(publisher: Publisher) -> None:
    with pytest.raises(FetchError, match="ConnectError"):
        await fetched(publisher, publisher.url("/a.json"), "127.0.0.1", tls=httpx2.create_ssl_context())


@pytest.mark.requirement("mcp:cimd-abuse")
async def test_a_document_that_arrives_too_slowly_is_given_up(publisher: Publisher) -> None:
    publisher.pages["/drip"] = Page(b"{", drip=True)
    with pytest.raises(FetchError, match="too long"):
        await fetched(publisher, publisher.url("/drip"), "127.0.0.1", seconds=0.3)


async def test_a_proxy_of_the_environment_is_not_used(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "ALL_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await fetched(publisher, publisher.url("/a.json"), "127.0.0.1")).body


@pytest.mark.requirement("best-practices:ssrf")
async def test_plain_http_is_allowed_on_loopback_only(publisher: Publisher) -> None:
    with running_publisher(tls=False) as plain:
        plain.put("/a.json", {})
        url = f"http://localhost:{plain.port}/a.json"
        assert (await fetched(plain, url, "127.0.0.1")).body == b"{}"
        with pytest.raises(FetchError, match="https"):
            await fetched(plain, url, "8.8.8.8")


@pytest.mark.requirement("cimd:cache-headers", "mcp:cimd-cache")
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 3600),
        ("public", 3600),
        ("max-age=600", 600),
        ("public, Max-Age=600", 600),
        ('max-age="600"', 600),
        ("max-age=0", 60),
        ("max-age=1", 60),
        ("max-age=31536000", 86_400),
        ("max-age=" + "9" * 5000, 86_400),
        ("max-age=-5", 3600),
        ("max-age=\u0663", 3600),
        ("max-age=600, no-store", 60),
        ("no-cache", 60),
        ("s-maxage=5", 3600),
    ],
)
def test_the_freshness_of_a_document_follows_its_header_within_bounds(header: str, seconds: int) -> None:
    assert fresh_for(header) == seconds
