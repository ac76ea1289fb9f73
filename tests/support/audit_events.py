"""Sample events of several programs, and a second, simple implementation of the search filters."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from oauth_core.net.address_ranges import AddressRange
from portcullis.audit import moments
from portcullis.audit.filters import EventFilter
from tests.support.audit_segments import SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

START = datetime(2026, 11, 30, 5, 30, tzinfo=UTC)
NAMES = st.sampled_from(
    ["octocat", "OctoCat", "mona-lisa", "7", "ünï", 'a"b\\c', "https://app.example/c?x=1", "K"]
)
TOOLS = st.sampled_from(["read_note", "read", "write_note", "notes/é"])
SOURCES = st.sampled_from(["10.1.2.3", "10.1.9.9", "::ffff:10.1.2.3", "2001:db8::1", "not an address"])
EVENTS = st.sampled_from(["access.allowed", "access.denied", "token.issued", "token.revoked", "user.blocked"])
OUTCOMES = st.sampled_from(["allowed", "denied", "success", "failure", "intent"])
FIELDS = st.fixed_dictionaries(
    {"event": EVENTS, "outcome": OUTCOMES},
    optional={
        "user": NAMES,
        "user_id": st.sampled_from([7, 77, 583231]),
        "operator": NAMES,
        "client_id": NAMES,
        "jti": NAMES,
        "grant_id": NAMES,
        "service": NAMES,
        "mcp_name": TOOLS,
        "call": TOOLS.map(lambda name: f"tools/call {name}"),
        "source": SOURCES,
        "reason": st.text(max_size=8),
    },
)
MINUTES = st.lists(st.tuples(st.integers(0, 30), FIELDS), max_size=12)
"""For one boot: the minutes between each event and the one before, and its fields."""


def time_at(minutes: float) -> str:
    return moments.recorded(START + timedelta(minutes=minutes))


def write_boot(folder: Path, number: int, listed: Sequence[tuple[int, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Write events as a program does, with a new segment in each hour. Return the events."""
    writer = SegmentWriter(folder, f"writer.{number}", node=f"node-{number % 2}")
    written, minute, opened = [], number, time_at(number)
    (folder / f"segments/writer.{number}").mkdir(exist_ok=True)
    writer.path.unlink()
    writer.encoder, writer.index = type(writer.encoder)(), 0
    writer.open_segment(opened)
    for step, fields in listed:
        minute += step
        time = time_at(minute)
        if time[:13] != opened[:13]:
            opened = time
            writer.open_segment(opened)
        writer.write({"v": 1, "time": time, **fields})
        written.append({"v": 1, "time": time, **fields})
    return written


def has_user(one: dict[str, Any], wanted: str) -> bool:
    login = one.get("user", "")
    same = login.lower() == wanted.lower() if (login + wanted).isascii() else login == wanted
    return ("user" in one and same) or str(one.get("user_id")) == wanted


def has_tool(one: dict[str, Any], wanted: str) -> bool:
    name = one.get("mcp_name") or one.get("call", "").removeprefix("tools/call ")
    return bool(name) and (name.startswith(wanted[:-1]) if wanted.endswith("*") else name == wanted)


def is_from(one: dict[str, Any], wanted: str) -> bool:
    source = one.get("source", "").removeprefix("::ffff:")
    try:
        return ipaddress.ip_address(source) in ipaddress.ip_network(wanted, strict=False)
    except ValueError:
        return False


def has_event(one: dict[str, Any], wanted: str) -> bool:
    return one["event"].startswith(wanted[:-1]) if wanted.endswith("*") else bool(one["event"] == wanted)


PLAIN: dict[str, Callable[[dict[str, Any], Any], bool]] = {
    "user": has_user,
    "operator": lambda one, wanted: one.get("operator") == wanted,
    "client": lambda one, wanted: one.get("client_id") == wanted,
    "token": lambda one, wanted: one.get("jti") == wanted,
    "grant": lambda one, wanted: one.get("grant_id") == wanted,
    "service": lambda one, wanted: one.get("service") == wanted,
    "tool": has_tool,
    "source": is_from,
    "events": lambda one, wanted: any(has_event(one, each) for each in wanted),
    "outcomes": lambda one, wanted: one["outcome"] in wanted,
    "since": lambda one, wanted: one["time"] >= wanted,
    "until": lambda one, wanted: one["time"] < wanted,
}
"""A second, simple implementation of each part of a filter."""

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "user": st.one_of(NAMES, st.sampled_from(["OCTOCAT", "583231", "nobody"])),
    **dict.fromkeys(("operator", "client", "token", "grant", "service"), NAMES),
    "tool": st.one_of(TOOLS, st.sampled_from(["read*", "*", "x"])),
    "source": st.sampled_from(["10.1.2.3", "10.1.0.0/16", "0.0.0.0/0", "2001:db8::/32", "::/0", "10.1.2.3/24"]),
    "events": st.lists(st.one_of(EVENTS, st.sampled_from(["token.*", "*", "a*"])), min_size=1, max_size=2).map(
        tuple
    ),
    "outcomes": st.lists(OUTCOMES, min_size=1, max_size=2).map(tuple),
    "since": st.integers(-30, 200).map(time_at),
    "until": st.integers(200, 400).map(time_at),
}
FILTERS = st.one_of(
    *(st.fixed_dictionaries({name: value}) for name, value in VALUES.items()),
    st.fixed_dictionaries({}, optional=VALUES),
)


def filter_of(wanted: dict[str, Any]) -> EventFilter:
    source = wanted.get("source")
    return EventFilter(**{**wanted, "source": None if source is None else AddressRange(source)})


def plainly(written: list[dict[str, Any]], wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """The events that match a filter."""
    return [one for one in written if all(PLAIN[part](one, value) for part, value in wanted.items())]


def write_boots(folder: Path, boots: Sequence[Sequence[tuple[int, dict[str, Any]]]]) -> list[dict[str, Any]]:
    """Write the events of several boots. Return all of them."""
    return [one for number, listed in enumerate(boots) for one in write_boot(folder, number, listed)]
