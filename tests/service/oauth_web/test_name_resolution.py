"""Names are looked up without threads: silent name servers delay no other lookup, and a lookup can
be cancelled.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import dns.asyncresolver
import dns.message
import dns.rrset
import pytest

from oauth_web.client_documents import names

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SILENT = 40
"""More than the threads of an event loop's executor (32 at most), and so few that their queries, two for each
name, fit into the receive buffer of one socket when they are sent without a pause.
"""
RECORDS = {
    ("both.example.", "A"): ["198.51.100.1", "198.51.100.2"],
    ("both.example.", "AAAA"): ["2001:db8::1"],
    ("four.example.", "A"): ["198.51.100.4"],
    ("six.example.", "AAAA"): ["2001:db8::6"],
}


class _NameServer(asyncio.DatagramProtocol):
    """Answers for known names, fails for one AAAA record, and is silent about names that begin with `silent`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.many_asked = asyncio.Event()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = str(question.name), dns.rdatatype.to_text(question.rdtype)
        self.asked.append(name)
        if name.startswith("silent"):
            if len({asked for asked in self.asked if asked.startswith("silent")}) == SILENT:
                self.many_asked.set()
            return
        answer = dns.message.make_response(query)
        known = {name for name, _ in RECORDS}
        if name == "four.example." and kind == "AAAA":
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif name not in known:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif found := RECORDS.get((name, kind)):
            answer.answer.append(dns.rrset.from_text_list(name, 60, "IN", kind, found))
        self.transport.sendto(answer.to_wire(), addr)


@pytest.fixture
async def name_server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[_NameServer]:
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        _NameServer, local_addr=("127.0.0.1", 0)
    )
    port = transport.get_extra_info("sockname")[1]
    original = dns.asyncresolver.Resolver

    def made() -> dns.asyncresolver.Resolver:
        resolver = original(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], port
        return resolver

    monkeypatch.setattr(dns.asyncresolver, "Resolver", made)
    monkeypatch.setattr(names, "_LONGEST_SECONDS", 200.0)  # long enough for any machine
    yield server
    transport.close()


async def test_a_name_has_the_addresses_of_both_record_types(name_server: _NameServer) -> None:
    assert sorted(await names.resolve("both.example")) == ["198.51.100.1", "198.51.100.2", "2001:db8::1"]
    assert await names.resolve("six.example") == ["2001:db8::6"]
    assert set(name_server.asked) == {"both.example.", "six.example."}, "no search domain is added"


async def test_a_failure_for_one_record_type_does_not_lose_the_other(
    name_server: _NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "_LONGEST_SECONDS", 3.0)
    assert await names.resolve("four.example") == ["198.51.100.4"]


async def test_silent_name_servers_hold_no_thread_and_delay_no_other_lookup(name_server: _NameServer) -> None:
    before = threading.active_count()
    silent = [asyncio.create_task(names.resolve(f"silent-{number}.example")) for number in range(SILENT)]
    async with asyncio.timeout(60):
        await name_server.many_asked.wait()
    assert await names.resolve("six.example") == ["2001:db8::6"]
    assert threading.active_count() == before
    assert not any(task.done() for task in silent)
    for task in silent:
        task.cancel()
    done, waiting = await asyncio.wait(silent, timeout=60)
    assert not waiting
    assert all(task.cancelled() for task in done)


@pytest.mark.parametrize("host", ["nowhere.example", "a..example", "127.1", "0x7f.1", "2130706433", "x" * 64])
async def test_a_name_without_an_address_is_an_os_error(name_server: _NameServer, host: str) -> None:
    with pytest.raises(OSError, match=r"."):
        await names.resolve(host)


async def test_addresses_and_local_names_need_no_name_server(name_server: _NameServer) -> None:
    assert await names.resolve("2001:db8::1") == ["2001:db8::1"]
    assert "127.0.0.1" in await names.resolve("localhost")
    assert await names.resolve("app.localhost") == ("127.0.0.1", "::1")
    assert name_server.asked == []
