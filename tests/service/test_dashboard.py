"""The queries of the dashboard find their metrics in those of the real programs."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support.alerts import AlertWorld
from tests.support.authz_process import environ, running_authz
from tests.support.certificates import Authority
from tests.support.check_messages import check_request, read_answer
from tests.support.dashboard import expressions
from tests.support.metrics import Samples, read_samples, value
from tests.support.ports import free_port
from tests.support.programs import plain_environment, running, until
from tests.support.sinks import SinkWorld, receiving_otlp
from tests.support.web_process import running_web

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.authz_process import Issue
    from tests.support.redis_server import RedisServer

SERVICES = 'issuer = "http://localhost:8080"\n[[services]]\nname = "time"\ncommand = ["mcp-server-time"]\n'


def scrape(place: str) -> Samples:
    return read_samples(httpx2.get(f"http://{place}/metrics", timeout=60).text)


def whole(place: str) -> Samples:
    """Metrics with those of files, which may be missing while the machine is busy."""
    pages: list[Samples] = []

    def is_whole() -> bool:
        pages.append(scrape(place))
        return ("portcullis_audit_disk_bytes", ()) in pages[-1]

    until(is_whole)
    return pages[-1]


def scraped_web(folder: Path) -> Samples:
    """The metrics of an authorization server with everything that has metrics."""
    place, authority = f"127.0.0.1:{free_port()}", Authority(folder, "authority")
    settings = {
        "WEB_METRICS_LISTEN": place,
        "AUDIT_DIR": str(folder / "audit"),
        "ISSUER": "https://localhost:8443",
        "TLS_CERT": str(authority.cert),
        "TLS_KEY": str(authority.identity("localhost").key),
        "MAIL_SERVER": f"127.0.0.1:{free_port()}",
        "MAIL_TLS": "off",
        "MAIL_FROM": "gate@example.com",
    }
    with running_web(settings):
        return whole(place)


def scraped_check(redis: RedisServer, issue: Issue, folder: Path) -> Samples:
    """The metrics of a check service that allowed a request and refused one."""
    place = f"127.0.0.1:{free_port()}"
    with running_authz(environ(redis, METRICS_LISTEN=place, AUDIT_DIR=str(folder / "audit"))) as authz:
        authz.wait_for_health("SERVING")
        assert read_answer(authz.check(check_request(token=issue()))).status == 200
        assert read_answer(authz.check(check_request())).status == 401
        count = "portcullis_check_seconds_count"
        until(
            lambda: (
                value(scrape(place), count, worker="0", outcome="allowed") == 1
                and value(scrape(place), count, worker="0", outcome="denied") == 1
            )
        )
        return whole(place)


def scraped_seals(folder: Path) -> Samples:
    """The metrics of a sealer with everything that has metrics, and of the monitor that knows its key."""
    place, monitor = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    audit, key_file, key = folder / "audit", folder / "audit_seal.key", folder / "keys"
    seal = ["audit", "seal", "--make-key", "--audit-dir", str(audit), "--key-file", str(key_file)]
    environment = plain_environment(
        AUDIT_METRICS_LISTEN=place,
        # No server listens there. Failures have metrics too.
        AUDIT_MONITORS=f"https://127.0.0.1:{free_port()}",
        AUDIT_TIMESTAMP_URL=f"https://127.0.0.1:{free_port()}/",
        AUDIT_TIMESTAMP_CA_FILE=str(Authority(folder, "time stamps").cert),
    )
    with scraping(seal, folder / "seal.log", place, environment):
        samples = whole(place)
    key.write_text((folder / "audit_seal.pub").read_text())
    config = folder / "monitor.toml"
    config.write_text(
        f'{SERVICES}[audit]\ndir = "{audit}"\nmonitor_listen = "127.0.0.1:{free_port()}"\n'
        f'monitor_keys = "{key}"\nmonitor_metrics_listen = "{monitor}"\n'
    )
    with scraping(["audit", "monitor", "--config", str(config)], folder / "monitor.log", monitor):
        return {**samples, **scrape(monitor)}


@contextmanager
def scraping(
    arguments: list[str], log: Path, place: str, environment: dict[str, str] | None = None
) -> Iterator[None]:
    """Run a command of `portcullis`. At the start of the block it serves its metrics."""
    with running(arguments, log, environment) as process:

        def listens() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return bool(scrape(place))
            except httpx2.TransportError:
                return False

        until(listens)
        yield


def scraped_alerts(folder: Path) -> Samples:
    """The page of the alerts program after its first look."""
    place = f"127.0.0.1:{free_port()}"
    (folder / "alerts").mkdir()
    world = AlertWorld(folder / "alerts")
    world.configure(f'interval = 1\nmetrics_listen = "{place}"')
    world.webhook("hook", f"http://127.0.0.1:{free_port()}/closed")
    with running(["alerts", "run", "--config", str(world.config)], folder / "alerts.log") as process:
        pages: list[Samples] = []

        def has_looked() -> bool:
            assert process.poll() is None, (folder / "alerts.log").read_text()
            try:
                pages.append(scrape(place))
            except httpx2.TransportError:
                return False
            return ("portcullis_alerts_last_look_timestamp_seconds", ()) in pages[-1]

        until(has_looked)
        return pages[-1]


def scraped_sinks(folder: Path) -> Samples:
    """The page of the program for sinks when one sink has taken records."""
    place = f"127.0.0.1:{free_port()}"
    (folder / "sinks").mkdir()
    world = SinkWorld(folder / "sinks")
    world.happen(1)
    with receiving_otlp() as receiver:
        world.sink("siem", "otlp", receiver.url)
        arguments = ["audit", "ship", "--config", str(world.config)]
        environment = plain_environment(AUDIT_SINKS_METRICS_LISTEN=place)
        with running(arguments, folder / "sinks.log", environment) as process:
            pages: list[Samples] = []

            def has_sent() -> bool:
                assert process.poll() is None, (folder / "sinks.log").read_text()
                try:
                    pages.append(scrape(place))
                except httpx2.TransportError:
                    return False
                sent = "portcullis_sink_last_success_timestamp_seconds"
                return {(sent, (("sink", "siem"),)), ("portcullis_sink_lag_seconds", (("sink", "siem"),))} <= {
                    *pages[-1]
                }

            until(has_sent)
            return pages[-1]


@pytest.fixture
def found(redis: RedisServer, issue: Issue, tmp_path: Path) -> Samples:
    web, check = scraped_web(tmp_path), scraped_check(redis, issue, tmp_path)
    return {**web, **check, **scraped_seals(tmp_path), **scraped_alerts(tmp_path), **scraped_sinks(tmp_path)}


def test_every_query_finds_its_metrics_with_their_labels(found: Samples) -> None:
    labels: dict[str, set[str]] = {}
    values: dict[tuple[str, str], set[str]] = {}
    for name, series in found:
        for label, content in series:
            labels.setdefault(name, set()).add(label)
            values.setdefault((name, label), set()).add(content)
        labels.setdefault(name, set())
    for query in expressions():
        names = re.findall(r"\bportcullis_\w+", query)
        assert set(names) <= labels.keys(), query
        grouped = re.findall(r"\w+", " ".join(re.findall(r"\bby \(([^)]*)\)", query)))
        assert set(grouped) <= set.union(*(labels[name] for name in names)), query
        for name, matchers in re.findall(r"\b(portcullis_\w+)\{([^}]*)\}", query):
            for label, _, wanted in re.findall(r'(\w+)(=~?)"([^"]*)"', matchers):
                assert label in labels[name], query
                if label != "status":  # there are no errors here
                    assert set(wanted.split("|")) <= values[name, label], query
