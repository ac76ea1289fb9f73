"""`portcullis audit detect`: run the detection rules over the audit record."""

from __future__ import annotations

import json
import sys
import textwrap
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from portcullis.alerts.learning import LEVELS, REASONS, TITLES, because_of, place_of
from portcullis.audit import moments
from portcullis.audit.shown import printable
from portcullis.cli.audit_folder import audit_dir_option
from portcullis.cli.detection_rules import chosen_rules, rule_options
from portcullis.cli.event_options import time_options
from portcullis.cli.event_output import exit_if_incomplete, sealing_of
from portcullis.cli.json_option import as_json
from portcullis.cli.locations_option import location_databases
from portcullis.cli.printed_lines import until_the_reader_goes
from portcullis.detection.labels import LABELS, listed
from portcullis.detection.past import PastHours
from portcullis.detection.profiles import HOUR_SECONDS, ProfilesError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from portcullis.audit.filters import EventFilter
    from portcullis.audit.sealing import Sealing
    from portcullis.detection.detecting import Detection, Finding
    from portcullis.detection.profiles import Unusual

FOUND = 3
_PERIOD = timedelta(days=1)


@click.command("detect")
@time_options
@rule_options
@click.option(
    "--unsealed", "with_unsealed", is_flag=True, help="Look at events too that no checkpoint covers (yet)."
)
@click.option(
    "--baselines",
    "with_baselines",
    is_flag=True,
    help="Judge each whole hour by the baseline of each person and client too. They learn the 14 days before.",
)
@as_json
@audit_dir_option
def command(
    audit_dir: Path,
    wanted: EventFilter,
    names: tuple[str, ...],
    folders: tuple[Path, ...],
    *,
    with_unsealed: bool,
    with_baselines: bool,
    as_json: bool,
) -> None:
    """Run the detection rules over the events of a period: the last day, unless --since and --until say otherwise.

    Only sealed events count, unless --unsealed is given. A rule that needs history reads events before the period
    too; `portcullis audit rules` says how many days. With --baselines hours are judged too, and found as
    `unusual_requests` and `unusual_hour`. With --json each finding is one line of JSON.

    Exits with 0 if nothing was found, with 3 if there are findings, with 1 if a part of the record could not be
    read, a rule could not be run, or nothing is sealed, and with 2 for wrong usage or a file of rules that cannot
    be used.
    """
    rules = chosen_rules(names, folders)
    # Imported here, as in `chosen_rules`: DuckDB may be missing.
    from portcullis.detection.detecting import Detection, before  # noqa: PLC0415

    until = wanted.until or moments.recorded(datetime.now(UTC))
    since = wanted.since or before(until, _PERIOD.total_seconds())
    if until <= since:
        raise click.UsageError("the end (--until) is not after the beginning (--since)")
    detection, sealing = Detection(since, until), sealing_of(audit_dir)
    try:
        databases = location_databases()
        detection.run(audit_dir, rules, sealing, with_unsealed=with_unsealed, locations=databases)
    except OSError as error:
        raise click.ClickException(f"the events cannot be kept for the rules: {error.strerror or error}") from None
    past = PastHours(since, until) if with_baselines else None
    unusual = [] if past is None else _unusual(past, audit_dir, sealing, detection, with_unsealed=with_unsealed)
    with until_the_reader_goes():
        for finding in detection.findings:
            click.echo(json.dumps(document(finding)) if as_json else "\n".join([*lines(finding), ""]))
        for each in unusual:
            click.echo("\n".join(json.dumps(one) if as_json else _lines_of(one) for one in _documents(each)))
        sys.stdout.flush()
    if past is not None:
        _summary_of_hours(past, len(unusual))
    _summary(detection, len(rules), sealing.sentence(), with_unsealed=with_unsealed)
    exit_if_incomplete(detection.reading)
    if detection.faults or (not with_unsealed and not sealing.is_known):
        sys.exit(1)
    sys.exit(FOUND if detection.findings or unusual else 0)


def _unusual(
    past: PastHours, audit_dir: Path, sealing: Sealing, detection: Detection, *, with_unsealed: bool
) -> list[Unusual]:
    """The hours that are unusual for their person or client. Raises `ClickException` where a disk is full."""
    if not with_unsealed and not sealing.is_known:
        return []
    try:
        return past.unusual(audit_dir, sealing, detection.reading, with_unsealed=with_unsealed)
    except (ProfilesError, OSError) as error:
        raise click.ClickException(f"baselines cannot be kept for the hours: {error}") from None


def _documents(unusual: Unusual) -> Iterator[dict[str, Any]]:
    """An unusual hour as findings in JSON, with the members of those of rules."""
    activity = unusual.activity
    caller = activity.caller
    is_person = caller.user_id is not None
    name, value = ("user_id", str(caller.user_id)) if is_person else ("client_id", str(caller.client_id))
    values = {name: {"shown": [value], "count": 1}}
    if activity.login is not None:
        values["user"] = {"shown": [activity.login], "count": 1}
    for rule, because in because_of(unusual):
        yield {
            "rule": rule,
            "id": None,
            "title": TITLES[rule],
            "level": LEVELS[rule],
            "reason": REASONS[rule],
            "condition": because,
            "group": {name: value},
            "metric": activity.calls,
            "events": activity.calls,
            "values": values,
            "first": asdict(place_of(activity.first)),
            "last": asdict(place_of(activity.last)),
            "sealed": activity.is_sealed,
            "tags": [],
        }


def _lines_of(found: dict[str, Any]) -> str:
    """An unusual hour for people."""
    reason = textwrap.wrap(found["reason"], 110, initial_indent="  ", subsequent_indent="  ")
    lines = [f"{found['level'].upper()}  {found['title']}  ({found['rule']})", *reason]
    lines.append(f"  because   {found['condition']}")
    lines += [f"  {LABELS[name]:<9} {listed(one['shown'], one['count'])}" for name, one in found["values"].items()]
    lines += [
        f"  {label:<9} {found[label]['time']}  {printable(found[label]['place'])}" for label in ("first", "last")
    ]
    return "\n".join([*lines, ""])


def _summary_of_hours(past: PastHours, unusual: int) -> None:
    text = f"Baselines: {past.judged} hours judged, {unusual} of a person or client unusual"
    if past.unsealed_from is not None:
        moment = datetime.fromtimestamp(past.unsealed_from * HOUR_SECONDS, UTC)
        text += f"; hours from {moments.recorded(moment)} on are not judged, because they are not all sealed"
    click.echo(f"{text}.", err=True)


def _summary(detection: Detection, rules: int, sealing: str, *, with_unsealed: bool) -> None:
    for fault in detection.faults:
        click.echo(f"not run: {printable(fault)}", err=True)
    findings = {0: "No finding", 1: "1 finding"}.get(count := len(detection.findings), f"{count} findings")
    text = (
        f"{findings} by {rules} rules, from {detection.since} to {detection.until}; {detection.read} events read"
    )
    if with_unsealed or not detection.left_out:
        click.echo(f"{text}; {sealing}.", err=True)
    else:
        click.echo(f"{text}; {detection.left_out} left out, because they are not sealed ({sealing}).", err=True)


def lines(finding: Finding) -> list[str]:
    """The finding for people."""
    rule = finding.rule
    group = ", ".join(f"{name} {printable(value)}" for name, value in finding.group.items())
    reason = textwrap.wrap(rule.description, 110, initial_indent="  ", subsequent_indent="  ")
    found = [f"{rule.level.upper()}  {rule.title}  ({rule.name})", *reason]
    if rule.condition:
        found.append(f"  because   {finding.metric}: {rule.condition}{f' ({group})' if group else ''}")
    for name, values in finding.values.items():
        found.append(f"  {LABELS[name]:<9} {listed(values.shown, values.count)}")
    found.append(f"  events    {finding.events}{'' if finding.is_sealed else ', not all sealed'}")
    for label, event in (("first", finding.first), ("last", finding.last)):
        found.append(f"  {label:<9} {printable(event.time)}  {printable(event.place)}")
    return found


def document(finding: Finding) -> dict[str, Any]:
    """The finding as a JSON object."""
    rule = finding.rule
    return {
        "rule": rule.name,
        "id": rule.id,
        "title": rule.title,
        "level": rule.level,
        "reason": rule.description,
        "condition": rule.condition or None,
        "group": finding.group,
        "metric": finding.metric,
        "events": finding.events,
        "values": {name: asdict(values) for name, values in finding.values.items()},
        "first": asdict(finding.first),
        "last": asdict(finding.last),
        "sealed": finding.is_sealed,
        "tags": list(rule.tags),
    }
