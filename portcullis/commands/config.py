"""`portcullis config`: what the settings are, where each comes from, and what is unsafe about them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import click

from oauth_core.errors import StoreUnavailableError
from oauth_core.settings import (
    DEFINITIONS,
    KINDS,
    AlertSettings,
    AuthzSettings,
    EnvoySettings,
    GatewaySettings,
    RedisSettings,
    WebSettings,
)
from oauth_core.settings.json_schema import file_schema
from oauth_core.settings.production import (
    Advice,
    check_service_advice,
    common_advice,
    envoy_advice,
    redis_advice,
    web_advice,
)
from portcullis.certificates.pair import faults_of_files_here
from portcullis.cli.detection_rules import faults_of_responses
from portcullis.cli.operator_commands import state_option
from portcullis.cli.settings_file import beside_option, settings_file
from portcullis.config_check.certificates import check_certificates
from portcullis.config_check.files import check_files
from portcullis.config_check.redis import check_redis
from portcullis.config_check.survey import Survey, survey
from portcullis.supervisor import operator_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


_MADE_BY_UP = ("server.master_key", "check.jwks_verification_key")
"""Settings that other ways of running need, and that `portcullis up` makes where they are not set."""


@click.group("config")
def command() -> None:
    """Look at the settings that the programs would start with."""


@command.command()
@beside_option
@state_option
@click.option("--production", is_flag=True, help="Exit with 1 if anything is unsafe for production.")
@click.option("--offline", is_flag=True, help="Do not ask Redis whether it keeps what it is given.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(config: Path | None, state_dir: Path, *, production: bool, offline: bool, as_json: bool) -> None:
    """List every setting of every program, where it came from, and what is unsafe for production.

    Run it with the environment that the programs have; beside a gateway that `portcullis up` runs, what `up` chose
    is read from its state folder. Secrets are not shown. Exits with 2 when a program would refuse to start.
    """
    environ = operator_environment.merged_with(state_dir, os.environ)
    config = settings_file(config, environ)
    found = survey(config, environ)
    if isinstance(tls := found.loaded.get(EnvoySettings.__name__), EnvoySettings):
        found = replace(found, faults=(*found.faults, *faults_of_files_here(tls)))
    if isinstance(alerts := found.loaded.get(AlertSettings.__name__), AlertSettings):
        found = replace(found, faults=(*found.faults, *faults_of_responses(alerts)))
    advice = list(_advice(config, found, environ))
    if not offline:
        advice += _redis_server_advice(found)
    unsafe = [item for item in advice if item.kind == "unsafe"]
    if as_json:
        shown = {
            "settings": [asdict(setting) for setting in found.settings],
            "advice": [asdict(item) for item in advice],
            "faults": list(found.faults),
            "outdated": list(found.outdated),
        }
        click.echo(json.dumps(shown))
    else:
        _print_survey(found, advice)
    if found.faults:
        sys.exit(2)
    sys.exit(1 if production and unsafe else 0)


@command.command()
def schema() -> None:
    """Print the JSON Schema of the settings file, with which editors complete and check it.

    Save it beside the file, and name it in the first line of the file: #:schema ./portcullis.schema.json
    """
    click.echo(json.dumps(file_schema(KINDS, DEFINITIONS), indent=2, ensure_ascii=False))


def _advice(config: Path | None, found: Survey, environ: Mapping[str, str]) -> Iterator[Advice]:
    seen: set[Advice] = set()
    for settings in found.loaded.values():
        for item in _settings_advice(settings):
            if item not in seen:
                seen.add(item)
                yield item
    yield from check_files(config, environ, found.loaded)
    if isinstance(tls := found.loaded.get(EnvoySettings.__name__), EnvoySettings):
        yield from check_certificates(tls, time.time())


def _settings_advice(settings: GatewaySettings) -> Iterator[Advice]:
    yield from common_advice(settings)
    if isinstance(settings, WebSettings):
        yield from redis_advice(settings)
        yield from web_advice(settings)
    if isinstance(settings, AuthzSettings):
        yield from check_service_advice(settings)
    if isinstance(settings, EnvoySettings):
        yield from envoy_advice(settings)


def _redis_server_advice(found: Survey) -> list[Advice]:
    settings = next((kind for kind in found.loaded.values() if isinstance(kind, RedisSettings)), None)
    if settings is None:
        return []
    try:
        return asyncio.run(check_redis(settings))
    except StoreUnavailableError as error:
        return [Advice("unsafe", "redis.url", f"does not answer: {error}")]


def _print_survey(found: Survey, advice: list[Advice]) -> None:
    names = max((len(setting.name) for setting in found.settings), default=0)
    values = min(max((len(setting.value) for setting in found.settings), default=0), 40)
    for setting in sorted(found.settings, key=lambda setting: setting.name):
        click.echo(f"{setting.name:<{names}}  {setting.value:<{values}}  {setting.origin}")
    if advice or found.faults or found.outdated:
        click.echo()
    for line in found.outdated:
        click.echo(f"{click.style('warning', fg='yellow')} {line}")
    for item in sorted(advice, key=lambda item: item.kind, reverse=True):
        mark = click.style(f"{item.kind:<7}", fg="red" if item.kind == "unsafe" else "yellow")
        click.echo(f"{mark} {item.setting}{' ' if item.setting else ''}{item.text}")
    for fault in found.faults:
        click.echo(f"{click.style('fault  ', fg='red')} {fault}")
    made = [name for name in _MADE_BY_UP if any(fault.startswith(f"{name} is not set") for fault in found.faults)]
    if made:
        click.echo(
            f"\nNo gateway runs here. `portcullis up` sets {' and '.join(made)} by itself, and needs no GitHub "
            "app where the issuer is on this machine."
        )
