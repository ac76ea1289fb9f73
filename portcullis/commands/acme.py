"""`portcullis acme`: get the gateway's certificate from an ACME authority, and keep it renewed."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING

import click

from oauth_core.errors import SettingsError
from oauth_core.process import logs, private_files
from oauth_core.settings import EnvoySettings, TlsSettings, load
from portcullis.certificates import secret
from portcullis.certificates.authority import Authority
from portcullis.certificates.challenges import Challenges, serving
from portcullis.certificates.folder import CertificateFolder, FolderError
from portcullis.certificates.keeper import Keeper
from portcullis.certificates.pair import Authorities, PairError
from portcullis.cli.operator_commands import state_option
from portcullis.cli.settings_file import beside_option, config_option, settings_file
from portcullis.programs.serving import parse_address
from portcullis.supervisor import operator_environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@click.group("acme")
def command() -> None:
    """Get the gateway's certificate from an ACME authority (Let's Encrypt), and keep it renewed.

    `portcullis up` does this by itself when acme.email is set.
    """


@command.command()
@config_option
def run(config: Path | None) -> None:
    """Keep a valid certificate in acme.dir until stopped.

    Envoy reads it from secret.json in that folder, and must forward /.well-known/acme-challenge/ from port 80, as
    the rendered configuration does. Before the first certificate there is a self-signed one, so that Envoy can
    start. A certificate is renewed after two thirds of its lifetime, or when its authority suggests it.
    """
    settings = _settings(config)
    folder, challenges = CertificateFolder(settings.acme_dir), Challenges()
    logs.configure("acme", settings.log_level, file=settings.log_file)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    try:
        with folder.held(), serving(challenges, parse_address(settings.acme_listen)):
            folder.show_something(settings.certificate_names)
            _show_client_authorities(settings)
            authority = Authority(
                settings.acme_directory,
                account_key=folder.account_key(),
                email=str(settings.acme_email),
                ca_file=settings.acme_ca_file,
            )
            Keeper(folder, authority, challenges, settings.certificate_names).run(stopping)
    except FolderError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or settings.acme_listen}: {error.strerror}") from None


@command.command()
@config_option
def prepare(config: Path | None) -> None:
    """Write a self-signed certificate into acme.dir unless it has one, so that Envoy can start."""
    settings = _settings(config)
    folder = CertificateFolder(settings.acme_dir)
    try:
        with folder.held():
            folder.show_something(settings.certificate_names)
            _show_client_authorities(settings)
    except (FolderError, OSError) as error:
        raise click.ClickException(str(error)) from None


@command.command()
@beside_option
@state_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(config: Path | None, state_dir: Path, *, as_json: bool) -> None:
    """Show the certificate in use. Exits with 1 unless it is valid now and has every name.

    For a gateway of `portcullis up` this is the certificate in its state folder.
    """
    environ = operator_environment.merged_with(state_dir, os.environ)
    settings = _settings(settings_file(config, environ), environ)
    try:
        certificate = CertificateFolder(settings.acme_dir).certificate()
    except FolderError as error:
        raise click.ClickException(str(error)) from None
    if certificate is None:
        raise click.ClickException(f"there is no certificate in {settings.acme_dir} yet")
    missing = sorted(set(settings.certificate_names) - certificate.names)
    good = certificate.validity.is_good(time()) and not missing
    shown = {
        "names": sorted(certificate.names),
        "missing": missing,
        "begins": _day(certificate.validity.begins),
        "ends": _day(certificate.validity.ends),
        "good": good,
    }
    if as_json:
        click.echo(json.dumps(shown))
    else:
        click.echo(f"{' '.join(sorted(certificate.names))}: valid from {shown['begins']} to {shown['ends']}")
        if missing:
            click.echo(f"It lacks: {' '.join(missing)}")
    sys.exit(0 if good else 1)


def _settings(config: Path | None, environ: Mapping[str, str] = os.environ) -> TlsSettings:
    settings = load(EnvoySettings, config, environ)
    if not settings.uses_acme:
        raise SettingsError(["acme.email is not set: certificates do not come from an ACME authority"])
    return settings


def _show_client_authorities(settings: TlsSettings) -> None:
    """Write the file that refers Envoy to the authorities of client certificates.

    A copy of the same authorities stays: `up` keeps one there. Everything else is replaced, so that authorities
    which the settings no longer name are no longer accepted.
    """
    path, authorities = settings.client_authorities_path, settings.tls_client_ca
    if authorities is None:
        return
    reference = json.dumps(secret.of_authorities_file(authorities.absolute()))
    good = [reference]
    with suppress(PairError):  # this program need not be able to read them
        good.append(Authorities.read(authorities).document())
    if not path.exists() or path.read_bytes() not in [text.encode() for text in good]:
        private_files.write(path, reference)


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
