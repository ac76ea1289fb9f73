"""`portcullis doctor`: the round trip and the attacks, against a gateway that is running."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
from pathlib import Path

import click
import httpx2

from oauth_core.errors import SettingsError
from oauth_core.net.public_urls import is_loopback, origin_of
from portcullis.cli.operator_settings import operator_settings
from portcullis.doctor.browsers import Browser, LocalBrowser, SystemBrowser
from portcullis.doctor.checks import examine
from portcullis.doctor.findings import Finding, Outcome
from portcullis.doctor.forge import Forger
from portcullis.doctor.gateway import Gateway, NoAnswerError, UnreachableError, discover
from portcullis.doctor.http_clients import HttpClientFactory, client_factory, error_in_words
from portcullis.supervisor.state import is_held

_COLOURS = {Outcome.HOLDS: "green", Outcome.BROKEN: "red", Outcome.UNTRIED: "yellow"}


@click.command("doctor")
@click.option("--url", default="http://localhost:8080", show_default=True, help="The gateway's issuer.")
@click.option(
    "--user",
    default="octocat",
    show_default=True,
    help="The user of the sign-in at the local stand-in. With GitHub, your browser opens.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The gateway's settings file, to make an expired token.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    default=Path(".portcullis"),
    show_default=True,
    help="The state folder of `portcullis up`. Its keys make the expired token, unless MASTER_KEY and REDIS_URL "
    "are in the environment.",
)
@click.option(
    "--cert", type=click.Path(path_type=Path), help="A client certificate (PEM), for tls.client_required."
)
@click.option(
    "--key", type=click.Path(path_type=Path), help="Its private key (PEM), if it is not in the same file."
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(
    url: str,
    user: str,
    config: Path | None,
    state_dir: Path,
    *,
    cert: Path | None,
    key: Path | None,
    as_json: bool,
) -> None:
    """Check a running gateway from outside, with attacks.

    Signs in with a real MCP client, calls a service, and then attacks: forged identity headers, tokens for
    another audience, expired, changed or unsigned tokens, foreign hosts and odd paths.
    Exits with 0 only if every attack was tried and refused.
    """
    try:
        is_ours = is_loopback(url) and not is_held(state_dir)
    except ValueError as error:
        raise click.ClickException(f"{url}: {error}") from None
    hint = f"; no gateway runs in {state_dir}: start it with `portcullis up`" if is_ours else ""
    try:
        findings = asyncio.run(
            _run(url, user, _forger(config, state_dir), client_factory(url, cert, key), say=not as_json)
        )
    except NoAnswerError as error:
        raise click.ClickException(f"{error}{hint}") from None
    if as_json:
        click.echo(json.dumps([{"claim": f.claim, "outcome": f.outcome.value, "seen": f.seen} for f in findings]))
    sys.exit(0 if all(finding.outcome is Outcome.HOLDS for finding in findings) else 1)


def _forger(config: Path | None, state_dir: Path) -> Forger | None:
    """The maker of expired tokens, if the gateway's own settings are available."""
    try:
        return Forger(operator_settings(config, state_dir, os.environ))
    except SettingsError:
        return None


async def _run(
    url: str, user: str, forger: Forger | None, clients: HttpClientFactory, *, say: bool
) -> list[Finding]:
    findings = []
    try:
        async with clients.client(timeout=15.0) as http:
            gateway = await discover(url, http, clients)
            browser = await _browser(gateway, user)
            async for finding in examine(gateway, browser, forger):
                findings.append(finding)
                if say:
                    _print_finding(finding)
    except NoAnswerError:
        raise
    except UnreachableError as error:
        raise click.ClickException(str(error)) from None
    except (httpx2.HTTPError, ssl.SSLError) as error:
        raise click.ClickException(f"{url} stopped answering: {error_in_words(error, url)}") from None
    finally:
        if forger is not None:
            await forger.aclose()
    if say:
        held = sum(finding.outcome is Outcome.HOLDS for finding in findings)
        click.echo(f"\n{held} of {len(findings)} hold.")
    return findings


async def _browser(gateway: Gateway, user: str) -> Browser:
    """`LocalBrowser` for the local stand-in, which runs on loopback only; else the user's own browser."""
    standin = f"{origin_of(gateway.issuer)}/_github/healthz"
    if is_loopback(gateway.issuer) and (await gateway.http.get(standin)).is_success:
        return LocalBrowser(user, gateway.clients)
    return SystemBrowser(lambda line: click.echo(line, err=True))


def _print_finding(finding: Finding) -> None:
    mark = click.style(f"{finding.outcome.value:<8}", fg=_COLOURS[finding.outcome])
    seen = click.style(f"  ({finding.seen})", dim=True) if finding.seen else ""
    click.echo(f"{mark}{finding.claim}{seen}")
