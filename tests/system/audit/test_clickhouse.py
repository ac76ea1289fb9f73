"""The large form: records go through a real NATS server into ClickHouse, and the queries of the page find gaps."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from portcullis.cli.main import cli
from tests.support.alerts import ago
from tests.support.audit_segments import event
from tests.support.nats_server import TOKEN, nats_server
from tests.support.project import ROOT
from tests.support.sinks import SinkWorld

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

session = pytest.importorskip("chdb.session", reason="no ClickHouse: make test-sinks installs it")

STATEMENTS = re.findall(r"```sql\n(.*?);\n```", (ROOT / "docs" / "audit-sinks.md").read_text("utf-8"), re.DOTALL)
TABLE, MISSING_EVENTS, MISSING_ENTRIES, EXPORT = STATEMENTS


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SinkWorld:
    monkeypatch.chdir(tmp_path)
    return SinkWorld(tmp_path)


class ClickHouse:
    """ClickHouse in this process, with the table of the page."""

    def __init__(self, folder: Path) -> None:
        self._session = session.Session(str(folder))
        for statement in ("CREATE DATABASE audit ENGINE = Atomic", "USE audit", TABLE):
            self._session.query(statement)

    def insert(self, messages: list[bytes]) -> None:
        """Insert messages, as a consumer of the stream does."""
        rows = b"\n".join(messages).decode()
        settings = "SETTINGS input_format_skip_unknown_fields = 1"
        self._session.query(f"INSERT INTO audit_records {settings} FORMAT JSONEachRow {rows}")

    def rows(self, query: str) -> list[dict[str, Any]]:
        """The rows of a query."""
        return [json.loads(line) for line in self.text(query).splitlines()]

    def text(self, query: str) -> str:
        """The answer to a query, as lines of JSON."""
        return str(self._session.query(query.removesuffix("FORMAT JSONEachRow"), "JSONEachRow"))

    def clear(self) -> None:
        """Remove all rows."""
        self._session.query("TRUNCATE TABLE audit_records")

    def close(self) -> None:
        self._session.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """There can be one in a process."""
    made = ClickHouse(tmp_path_factory.mktemp("clickhouse"))
    yield made
    made.close()


@pytest.fixture
def clickhouse(server: ClickHouse) -> ClickHouse:
    server.clear()
    return server


def messages_of(world: SinkWorld) -> list[bytes]:
    """The messages of the stream, after everything was sent."""
    (world.root / "token").write_text(TOKEN)
    world.writer.write(event(1, time=ago(1), user="octocat", event="access.denied", outcome="denied"))
    world._number = 1
    world.happen(3, 2, 1)
    with nats_server(world.root / "nats") as server:
        server.make_stream()
        world.sink("stream", "nats", server.url, f'secret_file = "{world.root}/token"', 'proof = "frames"')
        assert world.ship().exit_code == 0
        return [data for _, data in server.messages()]


def test_queries_of_the_page_find_what_is_missing_and_the_export_is_proven(
    world: SinkWorld, clickhouse: ClickHouse
) -> None:
    messages = messages_of(world)
    gone = [data for data in messages if json.loads(data).get("sequence") == 4]
    clickhouse.insert([data for data in messages if data not in gone])
    [found] = clickhouse.rows(MISSING_EVENTS)
    assert (found["writer"], int(found["last"]), int(found["missing"])) == ("ext_authz.0", 7, 1)
    clickhouse.insert(messages)  # again, as after a restart of a consumer
    assert clickhouse.rows(MISSING_EVENTS) == []
    assert clickhouse.rows(MISSING_ENTRIES) == []
    [denied] = clickhouse.rows(
        "SELECT sequence FROM audit_records FINAL WHERE user = 'octocat' AND time > now() - 7200"
    )
    assert int(denied["sequence"]) == 1
    export = world.root / "export.jsonl"
    export.write_text(clickhouse.text(EXPORT))
    key = ["--key", world.sealed.signer.verifier.text]
    result = CliRunner().invoke(cli, ["audit", "verify-received", str(export), *key])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Complete and unaltered: 5 entries with 7 events")


def test_a_missing_end_shows_in_the_entries(world: SinkWorld, clickhouse: ClickHouse) -> None:
    messages = messages_of(world)
    clickhouse.insert([data for data in messages if json.loads(data).get("sequence") != 7])
    assert clickhouse.rows(MISSING_EVENTS) == []
    [found] = clickhouse.rows(MISSING_ENTRIES)
    assert int(found["wanted"]) - int(found["there"]) == 1
