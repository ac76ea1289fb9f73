"""One `portcullis bench check`, from its choices to its report."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oauth_core.crypto import base64url
from portcullis.bench import external, fixture, flood, gateway, peers, pool, report, revocation, runner, target
from portcullis.bench.children import WorldError
from portcullis.bench.plan import Target
from portcullis.bench.target import MeasuredService, ServiceOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from portcullis.bench.fixture import BenchFixture
    from portcullis.bench.run.options import BenchOptions
    from portcullis.bench.runner import RunPlan

_REVOCATION_SHARE = 0.3
_FLOOD_SHARE = 0.2
_REVOCATION_SECONDS = 60.0
_REVOCATIONS = 2000


def run(choices: BenchOptions, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure, and answer the report. Raises `BenchFixtureError` and `GeneratorError`."""
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    with ExitStack() as stack:
        if choices.address is not None:
            subjects = [_elsewhere(choices, stack)]
            place = None
            count = len(pool.Pool(subjects[0].pool))
        else:
            spare = max(_REVOCATIONS * choices.revocation, flood.TOKENS * ("distinct" in choices.floods))
            place = stack.enter_context(
                fixture.made(tokens=choices.tokens + spare, algorithm=choices.algorithm, tell=tell)
            )
            count = choices.tokens
            subjects = _here(choices, place, stack, tell)
        rate = choices.rate or 0.0
        if choices.share is not None:
            rate = choices.share * _throughput(subjects[0], choices.course(count, 0.0), tell)
        course = choices.course(count, rate)
        by = external.choose(choices.generator, possible=choices.fits_external)
        results = runner.measure(subjects, course, tell, throughput=None if by is None else by.measure)
        seen = None
        if choices.revocation and place is not None:
            seen = _revoke(subjects[0], place, course, results[0].rate, tell)
        floods = []
        if choices.floods and place is not None:
            quiet = course.rate or max(1.0, results[0].rate * _FLOOD_SHARE)
            floods = [
                flood.measure(kind, subjects[0], place, replace(course, rate=quiet), tell)
                for kind in choices.floods
            ]
        return report.document(course, results, seen, floods, setting=_setting(choices), started_at=started_at)


def is_sound(document: dict[str, Any]) -> bool:
    """Whether every answer of a run was the right one."""
    seen = document["revocation"]
    parts = [*document["results"], *document["floods"], *([] if seen is None else [seen])]
    return all(part["sound"] for part in parts)


def _here(
    choices: BenchOptions, place: BenchFixture, stack: ExitStack, tell: Callable[[str], None]
) -> list[MeasuredService]:
    """Our own service first, its variants, then the peers; each behind an Envoy, if the chain is asked for."""
    tell("starting what is measured")
    services = []
    for variant in (None, *choices.variants):
        where = place.with_tool_rules() if variant == "tool-rules" else place
        options = ServiceOptions(choices.transport, choices.workers, variant)
        services.append((stack.enter_context(target.portcullis(where, options, fixture.RESOURCE)), where))
    names = peers.resolve(choices.names, through_envoy=choices.through_envoy)
    services += [
        (stack.enter_context(peers.running(name, place, fixture.RESOURCE)), place)
        for name in names
        if name != "jwt_authn"
    ]
    if not choices.through_envoy:
        return [service for service, _ in services]
    chains = [
        stack.enter_context(gateway.before(service, where, choices.envoy_workers)) for service, where in services
    ]
    if "jwt_authn" in names:
        chains.append(stack.enter_context(peers.running_in_envoy(place, fixture.RESOURCE, choices.envoy_workers)))
    return chains


def _elsewhere(choices: BenchOptions, stack: ExitStack) -> MeasuredService:
    """A service that runs already, and the user's tokens for it."""
    assert choices.address is not None  # noqa: S101 - for the type checker
    assert choices.token_file is not None  # noqa: S101
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portcullis-bench-")))
    try:
        tokens = choices.token_file.read_text(encoding="ascii").split()[: choices.tokens]
        entries = [_entry(token) for token in tokens]
    except (OSError, UnicodeDecodeError) as error:
        raise WorldError(f"{choices.token_file}: {error}") from None
    if not entries:
        raise WorldError(f"{choices.token_file} holds no tokens")
    audiences = {audience for _, audience in entries}
    if len(audiences) > 1:
        raise WorldError(f"{choices.token_file} holds tokens for several services: {' '.join(sorted(audiences))}")
    pool.write(folder / "tokens", (entry for entry, _ in entries))
    return MeasuredService(choices.address, Target(choices.address, "check", audiences.pop()), folder / "tokens")


def _entry(token: str) -> tuple[pool.Entry, str]:
    """A token of the user's, and the service that it is for, as it says itself."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64url.decode_leniently(part))
        audience = claims["aud"] if isinstance(claims["aud"], str) else claims["aud"][0]
        entry = pool.Entry(token.encode(), str(claims["sub"]).encode(), str(claims["jti"]).encode())
    except (ValueError, LookupError, TypeError):
        raise WorldError("the token file holds something that is not an access token") from None
    return entry, str(audience)


def _throughput(who: MeasuredService, course: RunPlan, tell: Callable[[str], None]) -> float:
    """What a subject can do in a closed loop, to send it a share of that. Raises `BenchFixtureError` if
    nothing.
    """
    (result,) = runner.measure([who], replace(course, rounds=1), tell)
    if not result.is_sound or not result.rate:
        raise WorldError(f"{who.name} gives no right answers to take a share of: {result.wrong}")
    return result.rate


def _revoke(
    who: MeasuredService, place: BenchFixture, course: RunPlan, rate: float, tell: Callable[[str], None]
) -> revocation.Propagation:
    """Revoke under a third of what the service can do, or at the rate that was asked for."""
    quiet = course.rate or max(1.0, rate * _REVOCATION_SHARE)
    seconds = min(course.seconds * course.rounds, _REVOCATION_SECONDS)
    share = replace(runner.load(who, course, mode="open", seconds=seconds), rate=quiet)
    tell(f"revoking under a load of {quiet:,.0f} requests/s")
    with place.redis() as redis:
        return revocation.measure(share, (course.tokens, place.tokens), redis, tell)


def _setting(choices: BenchOptions) -> dict[str, Any]:
    values = {name: value for name, value in asdict(choices).items() if name != "token_file"}
    values["peers"] = list(values.pop("names"))
    return values
