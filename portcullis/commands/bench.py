"""`portcullis bench`: measure the check path, beside other products that are installed, and the audit record."""

from __future__ import annotations

import json
import shutil
import sys
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from portcullis.audit.parquet import compaction, database
from portcullis.bench import (
    audit_record,
    audit_search,
    figures_page,
    flood,
    goals,
    made_copies,
    plot,
    pool,
    report,
    sealer,
    target,
)
from portcullis.bench.children import BenchFixtureError
from portcullis.bench.generator import GeneratorError
from portcullis.bench.run import session
from portcullis.bench.run.options import BenchOptions

_MOST_SECONDS = 600
_MOST_RATE = 1_000_000
_MOST_PERCENT = 200
_MOST_EVENTS = 1_000_000_000
_LEAST_ROOM = 2 * 1024**3
"""Bytes that a made record leaves free."""
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def command() -> None:
    """Measure how fast this installation is."""


@command.command("check")
@click.option(
    "--seconds",
    type=click.FloatRange(0.2, _MOST_SECONDS),
    default=5.0,
    show_default=True,
    help="How long each measurement takes.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 50),
    default=3,
    show_default=True,
    help="How often each subject is measured, in turns. The report has medians.",
)
@click.option("--connections", type=click.IntRange(1, 512), default=4, show_default=True)
@click.option(
    "--streams",
    type=click.IntRange(1, 1000),
    default=8,
    show_default=True,
    help="Requests under way at once on each connection.",
)
@click.option(
    "--tokens",
    type=click.IntRange(1, pool.LARGEST),
    default=1000,
    show_default=True,
    help="Distinct live tokens to ask with.",
)
@click.option("--cold", is_flag=True, help="Ask with each token once only, so that none was seen before.")
@click.option(
    "--open-loop",
    "pace",
    metavar="RATE|N%",
    help="Send at this rate, or at a share of our own throughput, whatever comes back; count latency from the "
    "intended moment.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes of the load generator.",
)
@click.option(
    "--generator",
    type=click.Choice(["auto", "builtin", "h2load", "ghz"]),
    default="auto",
    show_default=True,
    help="auto: h2load or ghz for a closed loop with one token, if there; else builtin.",
)
@click.option("--workers", type=click.IntRange(1, 256), help="Processes of the check service, if not its default.")
@click.option(
    "--transport", type=click.Choice(["auto", "http2", "grpcio"]), help="Transport of the check service."
)
@click.option(
    "--algorithm",
    type=click.Choice(["ES256", "ES384", "RS256", "EdDSA", "Ed25519"]),
    default="ES256",
    show_default=True,
    help="What tokens are signed with.",
)
@click.option("--through-envoy", is_flag=True, help="Measure the whole chain, with an Envoy before each subject.")
@click.option("--envoy-workers", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option(
    "--peer",
    "names",
    multiple=True,
    metavar="opa|go-noop|jwt_authn|all|ADDRESS",
    help="Measure this beside it, in turns. Repeat for more.",
)
@click.option(
    "--with",
    "variants",
    multiple=True,
    type=click.Choice(list(target.VARIANTS)),
    help="Measure ourselves again beside it, in turns: with rules for tools, which read the body, with metrics "
    "switched on, with the audit record, with one worker more, without Envoy's filters on answers, or with "
    "requests for lists in place of calls. Repeat for several.",
)
@click.option(
    "--revocation",
    is_flag=True,
    help="Also revoke tokens under load, one after another, and measure how soon each is refused.",
)
@click.option(
    "--flood",
    "floods",
    multiple=True,
    type=click.Choice(flood.KINDS),
    help="Also measure valid callers during a flood of forged tokens, of tokens never seen, or of huge headers.",
)
@click.option(
    "--address", metavar="ADDRESS", help="Measure the check service that runs there (host:port or unix:/path)."
)
@click.option("--token-file", type=_FILE, help="Live tokens for --address, one a line.")
@click.option("--i-own-this-host", "owned", is_flag=True, help="Put load on an address that is not this machine.")
@click.option("--json", "json_file", type=_FILE, help="Write the report there as JSON.")
@click.option("--plot", "plot_file", type=_FILE, help="Draw the report there as SVG.")
def check(**options: Any) -> None:
    """Measure the check path: throughput, latency, processor time, revocation.

    Starts a fixture of its own on loopback unless --address names a service. Every answer is checked: the exit
    code is 1 if one of them was wrong.
    """
    json_file, plot_file = options.pop("json_file"), options.pop("plot_file")
    rate, share = _pace(options.pop("pace"))
    bench_options = BenchOptions(rate=rate, share=share, **options)
    for fault in bench_options.faults():
        raise click.UsageError(fault)
    try:
        document = session.run(bench_options, lambda line: click.echo(line, err=True))
    except (BenchFixtureError, GeneratorError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(report.table(document))
    if isinstance(json_file, Path):
        _write(json_file, json.dumps(document, indent=2) + "\n")
    if isinstance(plot_file, Path):
        _write(plot_file, plot.draw(document))
    sys.exit(0 if session.is_sound(document) else 1)


@command.command("goals")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default="bench-results")
@click.option("--markdown", "file", type=_FILE, help="Write the table there too.")
def show_goals(folder: Path, file: Path | None) -> None:
    """Print the goals beside the figures of the runs in FOLDER (`make bench`), as Markdown."""
    try:
        text = goals.markdown(goals.read_reports(folder))
    except (OSError, ValueError, LookupError) as error:
        raise click.ClickException(f"{folder} has something that is no report: {error}") from None
    click.echo(text, nl=False)
    if file is not None:
        _write(file, text)


@command.command("report")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default="bench-results")
@click.option("--page", type=_FILE, required=True, help="The page to write; its data is beside it, as .json.")
@click.option("--check", is_flag=True, help="Write nothing: compare the page with its data.")
def write_page(folder: Path, page: Path, *, check: bool) -> None:
    """Write the figures of the runs in FOLDER (`make bench`) as a page in Markdown, with the data beside it.

    The page has the machine, the versions, the goals, the processor time of each answer, and all ratios.
    """
    file = page.with_suffix(".json")
    try:
        data = file.read_text(encoding="utf-8") if check else figures_page.to_data(goals.read_reports(folder))
        text = figures_page.render(data, file.name)
        found = page.read_text(encoding="utf-8") if check else ""
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        source = file if check else folder
        raise click.ClickException(f"{source} has something that is no report, or none: {error}") from None
    if not check:
        _write(file, data)
        _write(page, text)
        click.echo(f"wrote {page} and {file}")
    elif found != text:
        raise click.ClickException(f"{page} is not what `portcullis bench report` makes of {file.name}")


@command.command("audit")
@click.option(
    "--events",
    "count",
    type=click.IntRange(1, _MOST_EVENTS),
    default=1_000_000,
    show_default=True,
    help="Events to make. A million takes some 150 MB with the copies.",
)
@click.option("--people", type=click.IntRange(1, _MOST_EVENTS), default=1000, show_default=True)
@click.option("--days", type=click.IntRange(1, 366), default=30, show_default=True)
@click.option("--batch", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Events of a frame.")
@click.option("--segments", "with_segments", is_flag=True, help="Also search the segments themselves.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Make the record there, and keep it. Else it is removed at the end.",
)
def search_record(
    count: int, people: int, days: int, batch: int, folder: Path | None, *, with_segments: bool
) -> None:
    """Measure how long one person's time takes to find in an audit record of made events.

    Makes the record, then its Parquet copies (with DuckDB, the extra `audit`), and searches it.
    """
    with ExitStack() as stack:
        name = folder or Path(stack.enter_context(TemporaryDirectory(prefix="bench-audit-")))
        if (name / "segments").exists():
            raise click.ClickException(f"{name} has a record already")
        made = audit_record.make(name, count, people=people, days=days, batch=batch)
        click.echo(f"{count} events of {people} people in {days} days: {made.bytes} bytes, {made.seconds:.1f} s")
        if database.is_installed():
            begun = time.perf_counter()
            # As on the day after the record, so that every hour is closed, whatever the date is now.
            compaction.compact(name, now=made.ends + timedelta(days=1), report=lambda _line: None)
            size = sum(path.stat().st_size for path in (name / "parquet").glob("*.parquet"))
            click.echo(f"Parquet copies: {size} bytes, {time.perf_counter() - begun:.1f} s")
        ways = [("segments", True)] if with_segments or not database.is_installed() else []
        ways += [("copies", False)] if database.is_installed() else []
        for way, segments_only in ways:
            seconds, memory = audit_record.measure(name, made, segments_only=segments_only)
            click.echo(f"{made.of_person} events of one person, from {way}: {seconds:.2f} s, at most {memory} MiB")


@command.command("audit-search")
@click.option(
    "--events",
    "count",
    type=click.IntRange(10, _MOST_EVENTS),
    default=100_000_000,
    show_default=True,
    help="Events to make. A million takes some 85 MB and six seconds of a processor.",
)
@click.option("--people", type=click.IntRange(1, _MOST_EVENTS), default=10_000, show_default=True)
@click.option("--days", type=click.IntRange(1, 366), default=30, show_default=True)
@click.option(
    "--rounds", type=click.IntRange(1, 50), default=3, show_default=True, help="Searches; the fastest counts."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Make the record there and keep it, or use the one that is there. Else it is removed at the end.",
)
def search_large_record(count: int, people: int, days: int, rounds: int, folder: Path | None) -> None:
    """Measure how long `audit search` takes for one person's month in a record of 100 million events.

    Makes the Parquet copies that `audit compact` would make of them, with DuckDB (the extra `audit`), and runs the
    command. The goal is two seconds on two cores that do nothing else. Exits with 1 if not all is found.
    """
    if not database.is_installed():
        raise click.ClickException("DuckDB is not installed: it is in the extra `audit`")
    with ExitStack() as stack:
        name = folder or Path(stack.enter_context(TemporaryDirectory(prefix="bench-audit-search-")))
        try:
            name.mkdir(exist_ok=True)
            made = made_copies.kept(name)
            if made is None:
                room = shutil.disk_usage(name).free - count * made_copies.BYTES_OF_AN_EVENT
                if room < _LEAST_ROOM:
                    raise click.ClickException(f"the disk of {name} has no room for {count} events")
                made = made_copies.make(name, count, people=people, days=days, report=lambda _line: None)
        except (OSError, ValueError) as error:
            raise click.ClickException(f"{name}: {error}") from None
        click.echo(f"{made.events} events in {made.days} days: {made.bytes} bytes, made in {made.seconds:.1f} s")
        for user in (made.login, made.user_id):
            try:
                found = audit_search.measure(name, made, user, rounds)
            except audit_search.SearchError as error:
                raise click.ClickException(str(error)) from None
            click.echo(
                f"{made.of_person} events of {user}: {found.seconds:.2f} s, {found.processor:.2f} s of processor "
                f"time; {found.verdict}"
            )


@command.command("sealer")
@click.option(
    "--rate", type=click.IntRange(1, _MOST_RATE), default=60_000, show_default=True, help="Calls a second."
)
@click.option("--seconds", type=click.IntRange(1, _MOST_SECONDS), default=20, show_default=True)
@click.option(
    "--writers", type=click.IntRange(1, 64), default=2, show_default=True, help="Programs that record them."
)
def measure_sealer(rate: int, seconds: int, writers: int) -> None:
    """Measure whether the sealer keeps up with calls at a rate: its processor time, and its lag.

    Programs write a frame each 50 ms, as workers of the check service do, beside a `portcullis audit seal`.
    """
    with TemporaryDirectory(prefix="bench-sealer-") as folder:
        try:
            found = sealer.measure(Path(folder) / "audit", rate=rate, seconds=seconds, writers=writers)
        except (sealer.SealerBenchError, OSError) as error:
            raise click.ClickException(str(error)) from None
    median, highest = found.lag
    click.echo(f"{found.events} events in {found.frames} frames, {found.events / found.seconds:.0f} a second")
    click.echo(f"processor time of the sealer: {found.per_second:.1f} ms for each second of events")
    click.echo(f"oldest unsealed event: {median:.2f} s in the median, {highest:.2f} s at most")
    click.echo(f"all sealed {found.behind:.2f} s after the last event")


def _pace(text: object) -> tuple[float | None, float | None]:
    """A rate in requests a second, or a share of what the first service can do."""
    if text is None:
        return None, None
    number, is_share = str(text).removesuffix("%"), str(text).endswith("%")
    try:
        value = float(number)
    except ValueError:
        value = 0.0
    if not (0 < value <= (_MOST_PERCENT if is_share else _MOST_RATE)):
        raise click.BadParameter(f"{text} is neither a rate nor a share like 70%", param_hint="--open-loop")
    return (None, value / 100) if is_share else (value, None)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror or error}") from None
