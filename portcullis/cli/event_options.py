"""The options that choose events of the audit record, for all commands that search it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from oauth_core.net.address_ranges import AddressRange
from portcullis.audit import moments
from portcullis.audit.filters import EventFilter, FilterError

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

OUTCOMES = ("allowed", "denied", "success", "failure", "intent")

_TIMES = (
    click.option(
        "--since", metavar="TIME", help=f"Only events from then on: {moments.FORMS.removeprefix('write ')}."
    ),
    click.option("--until", metavar="TIME", help="Only events before then; a date includes its day."),
)
_EVENT_OPTIONS = (
    click.option("--user", help="Only of this person: a login in any case, or the number of the account."),
    click.option("--operator", help="Only commands that this account of the machine ran."),
    click.option("--client", "client", metavar="CLIENT_ID", help="Only of this client."),
    click.option("--token", metavar="JTI", help="Only of the access token with this id."),
    click.option("--grant", metavar="GRANT_ID", help="Only of this grant."),
    click.option("--service", metavar="NAME", help="Only at this service."),
    click.option(
        "--tool", metavar="NAME", help="Only calls of this tool, prompt or resource; a * at the end fits any rest."
    ),
    click.option("--source", metavar="ADDRESS", help="Only from this address, or from this network: 10.0.0.0/8."),
    click.option(
        "--event",
        "events",
        metavar="NAME",
        multiple=True,
        help="Only events of this name, such as access.denied or token.*. Repeat for several.",
    ),
    click.option(
        "--outcome",
        "outcomes",
        type=click.Choice(OUTCOMES),
        multiple=True,
        help="Only with this outcome. Repeat for several.",
    ),
)


def time_options(command: F) -> F:
    """Add `--since` and `--until`; the command gets `wanted`, an `EventFilter` of these times."""
    return _with_filter(command, _TIMES)


def event_options(command: F) -> F:
    """Add all options that choose events; the command gets `wanted`, the `EventFilter` of all of them."""
    return _with_filter(command, (*_EVENT_OPTIONS, *_TIMES))


def _with_filter(command: F, options: tuple[Callable[[F], F], ...]) -> F:
    @wraps(command)
    def run(*given: Any, since: str | None, until: str | None, **others: Any) -> Any:
        chosen = {name: others.pop(name) for name in EventFilter.__dataclass_fields__ if name in others}
        now = datetime.now(UTC)
        try:
            if chosen.get("source") is not None:
                chosen["source"] = AddressRange(chosen["source"])
            times: dict[str, Any] = {
                "since": since and moments.recorded(moments.parse(since, now=now)),
                "until": until and moments.recorded(moments.parse(until, now=now, is_end=True)),
            }
            wanted = EventFilter(**chosen, **times)
        except (FilterError, ValueError) as error:
            raise click.UsageError(str(error)) from None
        return command(*given, wanted=wanted, **others)

    decorated = cast("F", run)  # click calls it with the options, not with the filter
    for option in reversed(options):
        decorated = option(decorated)
    return decorated
