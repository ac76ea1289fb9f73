"""A gateway's audit folder with alerts for tests: made and sealed events, a settings file, and real receivers."""

from __future__ import annotations

import base64
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from oauth_core.audit import EventKind
from portcullis.audit import moments
from portcullis.cli.main import cli
from tests.support.audit_sealing import SealedWorld
from tests.support.audit_segments import NODE, SegmentWriter
from tests.support.http_servers import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes....").decode()
HIDDEN = "hidden-part-of-an-address"
"""A secret in addresses of receivers."""
GATEWAY = 'issuer = "http://localhost:8080"\n[[services]]\nname = "time"\ncommand = ["mcp-server-time"]\n'


@dataclass
class Received:
    """One request to a webhook."""

    path: str
    headers: dict[str, str]
    body: bytes
    answered: int

    @property
    def data(self) -> dict[str, Any]:
        """The alert."""
        found: dict[str, Any] = json.loads(self.body)["data"]
        return found


@dataclass
class Receiver:
    """A webhook: it answers `status` with `headers`, and records each request. Bodies with `refuses` get 400."""

    url: str
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    refuses: bytes | None = None
    received: list[Received] = field(default_factory=list)

    def taken(self) -> list[Received]:
        """The accepted requests."""
        return [one for one in self.received if one.answered == 204]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a webhook until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            refused = found.refuses is not None and found.refuses in body
            status = 400 if refused else found.status
            found.received.append(Received(self.path, headers, body, status))
            self.send_response(status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            if 300 <= status < 400:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Write no log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Receiver(f"http://127.0.0.1:{server.server_address[1]}/{HIDDEN}")
    with serving(server):
        yield found


class AlertWorld:
    """An audit folder in `root` with a sealer, and a settings file with destinations."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sealed = SealedWorld(root)
        self.audit_dir = self.sealed.audit_dir
        self.config = root / "portcullis.toml"
        self.outbox = root / "alerts.sqlite3"
        (root / "secret").write_text(f"{SECRET}\n", encoding="utf-8")
        self._destinations: list[str] = []
        self._alerts = ""
        self._detection = ""
        self._responses: list[str] = []
        self._writer: SegmentWriter | None = None
        self.configure()

    def configure(self, alerts: str = "", *, detection: str = "") -> None:
        """Write the settings file, with these lines in the tables `[alerts]` and `[detection]`."""
        self._alerts = alerts or self._alerts
        self._detection = detection or self._detection
        audit = f'[audit]\ndir = "{self.audit_dir}"\nnode = "{NODE}"\n'
        alerts = f"[alerts]\n{self._alerts}\n{''.join(self._destinations)}"
        detection = f"[detection]\n{self._detection}\n{''.join(self._responses)}"
        text = f"{GATEWAY}{audit}{alerts}{detection}"
        self.config.write_text(text, encoding="utf-8")

    def webhook(self, name: str, url: str, *more: str) -> None:
        """Add a webhook. Its address is in a file."""
        self._add(name, "webhook", url, f'secret_file = "{self.root}/secret"', *more)

    def service(self, name: str, url: str, *more: str) -> None:
        """Add an Apprise URL."""
        self._add(name, "apprise", url, *more)

    def respond(self, rule: str, action: str) -> None:
        """Add an automatic response."""
        self._responses.append(f'[[detection.responses]]\nrule = "{rule}"\naction = "{action}"\n')
        self.configure()

    def _add(self, name: str, kind: str, url: str, *more: str) -> None:
        file = self.root / f"{name}.url"
        file.write_text(url, encoding="utf-8")
        lines = ("[[alerts.destinations]]", f'name = "{name}"', f'kind = "{kind}"', f'url_file = "{file}"', *more)
        self._destinations.append("\n".join((*lines, "")))
        self.configure()

    def happen(self, *events: dict[str, object], sealed: bool = True) -> None:
        """Record these events, and seal them."""
        if self._writer is None:
            self._writer = SegmentWriter(self.audit_dir)
            self._writer.path.unlink()
            self._writer.encoder, self._writer.index = type(self._writer.encoder)(), 0
            self._writer.open_segment(ago(3))
        self._writer.write(*events)
        if sealed:
            self.sealed.seal()

    def run(self, *arguments: str) -> Result:
        """Run `portcullis alerts ARGUMENTS`, in this process."""
        name, *rest = arguments
        return CliRunner().invoke(cli, ["alerts", name, "--config", str(self.config), *rest])

    def events(self, name: str) -> list[dict[str, Any]]:
        """The recorded events of this name."""
        options = ["--audit-dir", str(self.audit_dir), "--event", name, "--json"]
        result = CliRunner().invoke(cli, ["audit", "search", *options])
        return [json.loads(line) for line in result.stdout.splitlines()]

    def listed(self) -> dict[str, Any]:
        """The output of `portcullis alerts list --json`."""
        result = self.run("list", "--json")
        assert result.exit_code == 0, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found


def ago(hours: float) -> str:
    """A recorded time, this number of hours ago."""
    return moments.recorded(datetime.now(UTC) - timedelta(hours=hours))


def reuse(grant: str = "grant-1", hours: float = 0.5, **fields: object) -> dict[str, object]:
    """A reused refresh token: one event is a finding of the rule `refresh_token_reuse`, of level high."""
    kind = EventKind.REFRESH_REUSED
    given: dict[str, object] = {"v": 1, "time": ago(hours), "event": str(kind), "outcome": str(kind.outcome)}
    return given | {"client_id": "editor", "grant_id": grant, "source": "203.0.113.7"} | fields


def elsewhere(grant: str = "grant-1", hours: float = 0.5) -> dict[str, object]:
    """A refresh token repeated from another address; with a reuse it is `grant_used_by_two`, of level critical."""
    return reuse(grant, hours, event=str(EventKind.REFRESH_REPEATED_ELSEWHERE), outcome="success")
