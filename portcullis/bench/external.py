"""Load generators of other projects, for a closed loop: h2load (of nghttp2) and ghz, when they are on PATH.

They use one token only, and h2load does not read answers. So our own generator sends the same request for a moment
before each measurement and reads every answer. Wrong answers that it finds count.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oauth_core.process.child_process import output_of
from portcullis.bench import children, process_group
from portcullis.bench.answer_check import ALLOWED
from portcullis.bench.children import BenchFixtureError
from portcullis.bench.generator import GeneratorError
from portcullis.bench.plan import Tally
from portcullis.bench.pool import Pool
from portcullis.bench.request_builder import CHECK_PATH, CheckRequestBuilder
from portcullis.bench.runner import Meter, Round, as_round
from portcullis.supervisor.environment import plain

if TYPE_CHECKING:
    from portcullis.bench.plan import Load
    from portcullis.bench.target import MeasuredService

_SAMPLE_SECONDS = 0.5
_SPARE_SECONDS = 30.0
_GRPC_HEAD_BYTES = 5
_PROGRAMS = ("h2load", "ghz")


def find_external(name: str, *, possible: bool) -> External | None:
    """The generator to use instead of ours, if any. Raises `BenchFixtureError` when that program is missing."""
    if name == "builtin" or (name == "auto" and not possible):
        return None
    for program in _PROGRAMS if name == "auto" else (name,):
        try:
            return External(program, children.find((program,), os.environ, hint="install it, or take builtin"))
        except BenchFixtureError:
            if name != "auto":
                raise
    return None


@dataclass(frozen=True)
class External:
    """A program of another project, and its path."""

    name: str
    program: str

    def measure(self, service: MeasuredService, load: Load) -> Round:
        """Measure a service once. Raises `GeneratorError`."""
        sample = process_group.run(replace(load, seconds=_SAMPLE_SECONDS, warm_up=0.0))
        with tempfile.TemporaryDirectory(prefix="portcullis-bench-") as name:
            folder = Path(name)
            _write_request(load, folder)
            meter = Meter(service)
            meter.begin()
            started = time.monotonic()
            output = self._run(self._command(load, folder), load.seconds)
            seconds = time.monotonic() - started
            meter.end()
            tally = _h2load_tally(folder / "log") if self.name == "h2load" else _ghz_tally(output)
        tally.seconds = min(seconds, self._seconds(load))
        tally.verdicts.update(sample.wrong)
        return replace(as_round(tally, meter.per_answer(tally.answers)), generator=self.name)

    def _seconds(self, load: Load) -> float:
        """The real duration of the run: h2load accepts whole seconds only."""
        return max(1.0, round(load.seconds)) if self.name == "h2load" else load.seconds

    def _command(self, load: Load, folder: Path) -> list[str]:
        address, connections = load.target.address, load.connections
        if self.name == "h2load":
            base = ["-B", address] if address.startswith("unix:") else []
            host = "localhost" if base else address
            return [
                *(self.program, "-D", f"{self._seconds(load):.0f}", "-c", str(connections)),
                *("-m", str(load.streams), "-t", str(min(load.processes, connections)), "-p", "h2c"),
                *("-d", str(folder / "message"), "--log-file", str(folder / "log"), *base),
                *("-H", "content-type: application/grpc", "-H", "te: trailers", f"http://{host}{CHECK_PATH}"),
            ]
        return [
            *(self.program, "--insecure", "--protoset", str(folder / "protoset")),
            *("--call", CHECK_PATH.lstrip("/"), "-B", str(folder / "plain"), "-O", "json"),
            *("-c", str(connections * load.streams), "--connections", str(connections)),
            *("-z", f"{load.seconds:g}s", "--duration-stop", "ignore", address),
        ]

    def _run(self, command: list[str], seconds: float) -> str:
        try:
            done = output_of(command, seconds=seconds + _SPARE_SECONDS, environment=plain(os.environ))
        except TimeoutError:
            raise GeneratorError(f"{self.name} does not end") from None
        if done.returncode:
            raise GeneratorError(f"{self.name} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
        return done.stdout


def _write_request(load: Load, folder: Path) -> None:
    """The request in the forms that the programs read. The folder is for this user alone."""
    pool = Pool(load.pool)
    message = CheckRequestBuilder(load.target.url, body=load.target.body).message(pool[load.first])
    pool.close()
    (folder / "message").write_bytes(message)
    (folder / "plain").write_bytes(message[_GRPC_HEAD_BYTES:])
    (folder / "protoset").write_bytes(_protoset())


def _protoset() -> bytes:
    """Our definition of the service and all that it imports, as ghz reads it."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet  # noqa: PLC0415 - for ghz only

    from ext_authz.generated import envoy_ext_authz_pb2 as pb  # noqa: PLC0415

    files = FileDescriptorSet()
    seen = set()

    def add(descriptor: Any) -> None:
        if descriptor.name not in seen:
            seen.add(descriptor.name)
            for needed in descriptor.dependencies:
                add(needed)
            descriptor.CopyToProto(files.file.add())

    add(pb.DESCRIPTOR)
    return files.SerializeToString()


def _h2load_tally(log: Path) -> Tally:
    """h2load's log: a line for each answer with its start, HTTP status and microseconds."""
    tally = Tally()
    for line in log.read_text(encoding="ascii").splitlines():
        _, status, microseconds = line.split("\t")[:3]
        tally.verdicts[ALLOWED if status == "200" else f"HTTP status {status}"] += 1
        tally.latency.record(int(microseconds) / 1e6)
    return tally


def _ghz_tally(output: str) -> Tally:
    """ghz's report: an entry for each call with its status and nanoseconds."""
    tally = Tally()
    try:
        for entry in json.loads(output).get("details") or []:
            tally.verdicts[ALLOWED if entry["status"] == "OK" else f"gRPC status {entry['status']}"] += 1
            tally.latency.record(entry["latency"] / 1e9)
    except (ValueError, KeyError, TypeError) as error:
        raise GeneratorError(f"ghz' report cannot be read: {error}") from None
    return tally
