"""The settings file of a running program: a valid change is applied, an invalid one is reported and changes
nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from oauth_core.audit import AuditEvent, AuditRecorder, EventKind
from oauth_core.process.settings_watcher import SettingsWatcher
from oauth_core.settings import CONFIG_VARIABLE, GatewaySettings, load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SERVICE = 'issuer = "http://localhost:8080"\n[[services]]\nname = "time"\nupstream = "http://127.0.0.1:1/mcp"\n'
ROLE = '[roles.r]\npermissions = ["mcp.time"]\nusers = ["{}"]\n'


class Recorder:
    """Keeps the events, and lets a test wait for the next."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[AuditEvent] = asyncio.Queue()
        self.applied: list[GatewaySettings] = []

    def record(self, event: AuditEvent) -> None:
        self.told.put_nowait(event)

    async def next(self) -> AuditEvent:
        async with asyncio.timeout(60):
            return await self.told.get()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the file often, so that tests do not wait."""
    monkeypatch.setattr("oauth_core.process.settings_watcher.LOOK_EVERY", 0.01)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A valid file with one role."""
    file = tmp_path / "portcullis.toml"
    file.write_text(SERVICE + ROLE.format("octocat"), encoding="utf-8")
    return file


def write(file: Path, text: str) -> None:
    """Write the complete file."""
    file.write_text(text, encoding="utf-8")


def remove(file: Path) -> None:
    """Delete it."""
    file.unlink()


@asynccontextmanager
async def followed(file: Path) -> AsyncIterator[tuple[SettingsWatcher[GatewaySettings], Recorder]]:
    environ = {CONFIG_VARIABLE: str(file)}
    recorder = Recorder()
    subject = SettingsWatcher(
        GatewaySettings, environ, load(GatewaySettings, None, environ), AuditRecorder(recorder)
    )
    task = asyncio.create_task(subject.follow(recorder.applied.append))
    try:
        yield subject, recorder
    finally:
        task.cancel()


def may(recorder: Recorder, user: str) -> bool:
    return recorder.applied[-1].policy.permissions_of(user, None, ()).allows("mcp.time")


async def test_a_change_is_applied_and_recorded(file: Path) -> None:
    async with followed(file) as (_, recorder):
        write(file, SERVICE + ROLE.format("hubot"))
        assert (await recorder.next()).kind is EventKind.POLICY_CHANGED
        assert (may(recorder, "hubot"), may(recorder, "octocat")) == (True, False)


async def test_a_file_that_replaces_the_old_one_is_applied(file: Path) -> None:
    async with followed(file) as (_, recorder):
        fresh = file.with_suffix(".new")
        fresh.write_text(SERVICE + ROLE.format("hubot"), encoding="utf-8")
        fresh.replace(file)
        assert (await recorder.next()).kind is EventKind.POLICY_CHANGED


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("not toml [", "portcullis.toml"),
        (f"x = {'[' * 5000}", "portcullis.toml"),
        (SERVICE + ROLE.format("x").replace("mcp.time", "mcp.tmie"), "mcp.tmie"),
        (SERVICE + ROLE.format("x").replace("users", "usrs"), "roles.r.usrs"),
        (SERVICE, "the last role is gone"),
        ("", "issuer"),
        ((SERVICE + ROLE.format("x")).replace("localhost:8080", "localhost:9090"), "issuer has changed"),
    ],
)
async def test_an_invalid_file_is_reported_and_changes_nothing(file: Path, text: str, told: str) -> None:
    async with followed(file) as (_, recorder):
        write(file, text)
        event = await recorder.next()
        assert event.kind is EventKind.POLICY_REFUSED
        assert event.reason is not None
        assert told in event.reason
        assert recorder.applied == []
        # The file is corrected, and applied again.
        write(file, SERVICE + ROLE.format("hubot"))
        while (await recorder.next()).kind is not EventKind.POLICY_CHANGED:
            pass
        assert may(recorder, "hubot")


async def test_a_missing_file_is_reported(file: Path) -> None:
    async with followed(file) as (_, recorder):
        remove(file)
        assert (await recorder.next()).kind is EventKind.POLICY_REFUSED
        assert recorder.applied == []


async def test_a_requested_reload_is_reported_even_if_nothing_changed(file: Path) -> None:
    write(file, SERVICE + ROLE.format("octocat"))
    async with followed(file) as (subject, recorder):
        write(file, "broken [")
        await recorder.next()
        subject.reload_now()
        assert (await recorder.next()).kind is EventKind.POLICY_REFUSED


async def test_a_change_of_other_settings_is_not_applied(file: Path) -> None:
    async with followed(file) as (_, recorder):
        write(file, f'log.level = "debug"\n{SERVICE}{ROLE.format("octocat")}')
        await asyncio.sleep(0.2)  # nothing must happen, so there is no event to wait for
        write(file, SERVICE + ROLE.format("hubot"))
        assert (await recorder.next()).kind is EventKind.POLICY_CHANGED
        assert len(recorder.applied) == 1
