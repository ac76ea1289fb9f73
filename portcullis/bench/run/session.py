"""One `portcullis bench check`, from its options to its report."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oauth_core.crypto import base64url
from portcullis.bench import external, flood, gateway, peers, pool, report, revocation, runner, target
from portcullis.bench.children import BenchFixtureError
from portcullis.bench.fixture import RESOURCE, make_fixture
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


def run(options: BenchOptions, progress: Callable[[str], None]) -> dict[str, Any]:
    """Measure, and return the report. Raises `BenchFixtureError` and `GeneratorError`."""
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    with ExitStack() as stack:
        if options.address is not None:
            services = [_elsewhere(options, stack)]
            fixture = None
            count = len(pool.Pool(services[0].pool))
        else:
            spare = max(_REVOCATIONS * options.revocation, flood.TOKENS * ("distinct" in options.floods))
            fixture = stack.enter_context(
                make_fixture(tokens=options.tokens + spare, algorithm=options.algorithm, progress=progress)
            )
            count = options.tokens
            services = _here(options, fixture, stack, progress)
        rate = options.rate or 0.0
        if options.share is not None:
            rate = options.share * _throughput(services[0], options.plan(count, 0.0), progress)
        plan = options.plan(count, rate)
        by = external.find_external(options.generator, possible=options.fits_external)
        results = runner.measure(services, plan, progress, throughput=None if by is None else by.measure)
        seen = None
        if options.revocation and fixture is not None:
            seen = _revoke(services[0], fixture, plan, results[0].rate, progress)
        floods = []
        if options.floods and fixture is not None:
            quiet = plan.rate or max(1.0, results[0].rate * _FLOOD_SHARE)
            floods = [
                flood.measure(kind, services[0], fixture, replace(plan, rate=quiet), progress)
                for kind in options.floods
            ]
        return report.document(plan, results, seen, floods, setting=_setting(options), started_at=started_at)


def is_sound(document: dict[str, Any]) -> bool:
    """Whether every answer of a run was the right one."""
    seen = document["revocation"]
    parts = [*document["results"], *document["floods"], *([] if seen is None else [seen])]
    return all(part["sound"] for part in parts)


def _here(
    options: BenchOptions, fixture: BenchFixture, stack: ExitStack, progress: Callable[[str], None]
) -> list[MeasuredService]:
    """Start the services to measure on this machine, and return them: Portcullis, its variants, the peers.

    With `through_envoy` each runs behind an Envoy.
    """
    progress("starting what is measured")
    services = []
    for variant in (None, *options.variants):
        where = fixture.with_tool_rules() if variant in target.WITH_RULES else fixture
        service_options = ServiceOptions(options.transport, options.workers, variant)
        services.append((stack.enter_context(target.portcullis(where, service_options, RESOURCE)), where))
    names = peers.resolve(options.names, through_envoy=options.through_envoy)
    services += [
        (stack.enter_context(peers.running(name, fixture, RESOURCE)), fixture)
        for name in names
        if name != "jwt_authn"
    ]
    if not options.through_envoy:
        return [service for service, _ in services]
    chains = [
        stack.enter_context(gateway.before(service, where, options.envoy_workers)) for service, where in services
    ]
    if "jwt_authn" in names:
        chains.append(stack.enter_context(peers.running_in_envoy(fixture, RESOURCE, options.envoy_workers)))
    return chains


def _elsewhere(options: BenchOptions, stack: ExitStack) -> MeasuredService:
    """A service that runs already, and the user's tokens for it."""
    assert options.address is not None  # noqa: S101 - for the type checker
    assert options.token_file is not None  # noqa: S101
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portcullis-bench-")))
    try:
        tokens = options.token_file.read_text(encoding="ascii").split()[: options.tokens]
        entries = [_entry(token) for token in tokens]
    except (OSError, UnicodeDecodeError) as error:
        raise BenchFixtureError(f"{options.token_file}: {error}") from None
    if not entries:
        raise BenchFixtureError(f"{options.token_file} holds no tokens")
    audiences = {audience for _, audience in entries}
    if len(audiences) > 1:
        raise BenchFixtureError(
            f"{options.token_file} holds tokens for several services: {' '.join(sorted(audiences))}"
        )
    pool.write(folder / "tokens", (entry for entry, _ in entries))
    return MeasuredService(options.address, Target(options.address, "check", audiences.pop()), folder / "tokens")


def _entry(token: str) -> tuple[pool.Entry, str]:
    """A token of the user, and the service in its audience."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64url.decode_leniently(part))
        audience = claims["aud"] if isinstance(claims["aud"], str) else claims["aud"][0]
        entry = pool.Entry(token.encode(), str(claims["sub"]).encode(), str(claims["jti"]).encode())
    except (ValueError, LookupError, TypeError):
        raise BenchFixtureError("the token file holds something that is not an access token") from None
    return entry, str(audience)


def _throughput(service: MeasuredService, plan: RunPlan, progress: Callable[[str], None]) -> float:
    """The rate of a service in a closed loop, to take a share of it. Raises `BenchFixtureError` if it is
    zero.
    """
    (result,) = runner.measure([service], replace(plan, rounds=1), progress)
    if not result.is_sound or not result.rate:
        raise BenchFixtureError(f"{service.name} gives no right answers to take a share of: {result.wrong}")
    return result.rate


def _revoke(
    service: MeasuredService, fixture: BenchFixture, plan: RunPlan, rate: float, progress: Callable[[str], None]
) -> revocation.Propagation:
    """Revoke under a third of what the service can do, or at the rate that was asked for."""
    quiet = plan.rate or max(1.0, rate * _REVOCATION_SHARE)
    seconds = min(plan.seconds * plan.rounds, _REVOCATION_SECONDS)
    share = replace(runner.load(service, plan, mode="open", seconds=seconds), rate=quiet)
    progress(f"revoking under a load of {quiet:,.0f} requests/s")
    with fixture.redis() as redis:
        return revocation.measure(share, (plan.tokens, fixture.tokens), redis, progress)


def _setting(options: BenchOptions) -> dict[str, Any]:
    values = {name: value for name, value in asdict(options).items() if name != "token_file"}
    values["peers"] = list(values.pop("names"))
    return values
