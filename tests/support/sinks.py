"""An audit folder with sinks for tests: sample events, sealed, a settings file, and a receiver of OTLP."""

from __future__ import annotations

import gzip
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from portcullis.cli.main import cli
from tests.support.alerts import GATEWAY
from tests.support.audit_sealing import SealedWorld
from tests.support.audit_segments import BOOT, NODE, SegmentWriter, event
from tests.support.http_servers import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from click.testing import Result
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

WRITER = "ext_authz.0"
TOKEN = "token-of-the-collector"


class SinkWorld:
    """An audit folder in `root` with a sealer, and a settings file with sinks."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sealed = SealedWorld(root)
        self.audit_dir = self.sealed.audit_dir
        self.config = root / "portcullis.toml"
        self._sinks: dict[str, tuple[str, ...]] = {}
        self.writer = SegmentWriter(self.audit_dir)
        self._number = 0
        self._configure()

    def sink(self, name: str, kind: str, url: str, *more: str) -> None:
        """Add a sink, or replace the one of this name."""
        self._sinks[name] = (f'kind = "{kind}"', f'url = "{url}"', *more)
        self._configure()

    def remove(self, name: str) -> None:
        """Remove a sink from the settings."""
        del self._sinks[name]
        self._configure()

    def _configure(self) -> None:
        tables = [
            "\n".join(("[[audit.sinks]]", f'name = "{name}"', *lines, "")) for name, lines in self._sinks.items()
        ]
        audit = f'[audit]\ndir = "{self.audit_dir}"\nnode = "{NODE}"\n'
        self.config.write_text(f"{GATEWAY}{audit}{''.join(tables)}", encoding="utf-8")

    def happen(self, *sizes: int, sealed: bool = True) -> None:
        """Record a frame with this number of events for each of `sizes`, and seal the frames."""
        for size in sizes:
            first = self._number + 1
            self._number += size
            self.writer.write(*(event(number) for number in range(first, self._number + 1)))
        if sealed:
            self.sealed.seal()

    def lines(self) -> dict[int, str]:
        """The line of each event of the writer, by its sequence number."""
        return {number: json.dumps(event(number), separators=(",", ":")) for number in range(1, self._number + 1)}

    def run(self, *arguments: str) -> Result:
        """Run `portcullis audit ARGUMENTS`, in this process."""
        name, *rest = arguments
        return CliRunner().invoke(cli, ["audit", name, "--config", str(self.config), *rest])

    def ship(self) -> Result:
        """Send everything that is sealed, once."""
        return self.run("ship", "--once")

    def states(self) -> dict[str, dict[str, Any]]:
        """The output of `portcullis audit sinks --json`, by the names of the sinks."""
        result = self.run("sinks", "--json")
        assert result.stdout, result.exception
        return {state["name"]: state for state in json.loads(result.stdout)}


@dataclass
class OtlpReceiver:
    """A receiver of OTLP logs: it answers `status`, and records each request that it accepted."""

    url: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    """Headers of the answers."""
    rejected: int = 0
    """The number of refused records in each answer."""
    most: int = 10**9
    """The largest number of records in a request; with more the answer is 413."""
    refuses: Callable[[LogRecord], bool] = lambda _record: False
    """A request with such a record gets the answer 400."""
    attempts: int = 0
    requests: list[ExportLogsServiceRequest] = field(default_factory=list)
    authorization: set[str] = field(default_factory=set)

    def records(self) -> list[LogRecord]:
        """All records, in the order of arrival."""
        return [record for request in self.requests for record in records_of(request)]

    def events(self) -> list[tuple[int, str]]:
        """Sequence number and line of each event, in the order of arrival."""
        return [
            (attributes(record)["portcullis.sequence"], record.body.string_value)
            for record in self.records()
            if attributes(record)["portcullis.record"] == "event"
        ]


def records_of(request: ExportLogsServiceRequest) -> list[LogRecord]:
    """The records of a request."""
    return [
        record
        for resource in request.resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]


def attributes(record: Any) -> dict[str, Any]:
    """The attributes of a record or a resource."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in record.attributes}


@contextmanager
def receiving_otlp() -> Iterator[OtlpReceiver]:
    """Run a receiver until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/x-protobuf"
            assert self.headers["Content-Encoding"] == "gzip"
            request = ExportLogsServiceRequest.FromString(gzip.decompress(body))
            found.attempts += 1
            found.authorization.add(self.headers.get("Authorization", ""))
            status = 413 if len(records_of(request)) > found.most else found.status
            status = 400 if any(map(found.refuses, records_of(request))) else status
            answer = ExportLogsServiceResponse()
            if found.rejected:
                answer.partial_success.rejected_log_records = found.rejected
                answer.partial_success.error_message = "a secret of the receiver"
            if status == 200:
                found.requests.append(request)
            self.send_response(status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            content = answer.SerializeToString()
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Write no log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = OtlpReceiver(f"http://127.0.0.1:{server.server_address[1]}/v1/logs")
    with serving(server):
        yield found


def places(sequences: Sequence[int], writer: str = WRITER) -> list[str]:
    """The names of events with these sequence numbers."""
    return [f"{NODE}/{writer}/{BOOT}/{sequence}" for sequence in sequences]
