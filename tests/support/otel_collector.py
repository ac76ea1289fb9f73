"""A real OpenTelemetry Collector for tests, built from Go modules by `make test-sinks`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.support.ports import free_port
from tests.support.programs import until

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = shutil.which("otel-collector", path=Path(sys.executable).parent)

needs_collector = pytest.mark.skipif(PROGRAM is None, reason="no Collector: make test-sinks builds it with Go")


@dataclass(frozen=True)
class Collector:
    """A running Collector: where it takes logs, and the file to which it writes them as JSON."""

    url: str
    file: Path


@contextmanager
def collector(folder: Path, port: int = 0) -> Iterator[Collector]:
    """Run a Collector until the block ends. Its file is in `folder`, and is appended to."""
    assert PROGRAM is not None
    folder.mkdir(exist_ok=True)
    place = f"127.0.0.1:{port or free_port()}"
    file = folder / "logs.jsonl"
    settings = {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": place}}}},
        "exporters": {"file": {"path": str(file), "append": True, "flush_interval": "50ms"}},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"logs": {"receivers": ["otlp"], "exporters": ["file"]}},
        },
    }
    config, log = folder / "collector.yaml", folder / "collector.log"
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    with log.open("wb") as output:
        command = [PROGRAM, "--config", f"file:{config}"]
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        try:
            until(lambda: "Everything is ready" in log.read_text(), "the Collector")
            yield Collector(f"http://{place}/v1/logs", file)
        finally:
            process.terminate()
            process.wait(60)
