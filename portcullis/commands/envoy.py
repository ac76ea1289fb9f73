"""`portcullis envoy`: the Envoy configuration of a gateway, on standard output."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Literal

import click

from oauth_core.errors import SettingsError
from oauth_core.settings import EnvoySettings, load
from portcullis.certificates import secret
from portcullis.certificates.pair import AuthoritiesFollower, Follower
from portcullis.cli.settings_file import config_option
from portcullis.envoy_config import SYSTEM_CAS, to_yaml
from portcullis.envoy_config import render as render_bootstrap

_LOOK_SECONDS = 1.0


@click.group()
def command() -> None:
    """Render the Envoy configuration."""


@command.command("secret")
@config_option
@click.option(
    "--follow",
    "target",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write FILE, and write it again for each new pair that matches, until stopped.",
)
@click.option(
    "--client-authorities",
    "of_clients",
    is_flag=True,
    help="The same for client-authorities.json beside it, with the authorities in tls.client_ca.",
)
def show_secret(config: Path | None, target: Path | None, *, of_clients: bool) -> None:
    """Print the contents of the file `tls.secret`, with which Envoy uses `tls.cert` and `tls.key`.

    The output names the two files and contains no key. Envoy reads both again only when a file is moved into the
    folder of tls.cert. If your tool overwrites the files or changes links (certbot), use --follow FILE: FILE
    contains the certificate and the key, and only its owner can read it. With acme.email you need none of this.
    With tls.client_ca, Envoy needs a second file: give --client-authorities.
    """
    settings = load(EnvoySettings, config, os.environ)
    if of_clients:
        _show_client_authorities(settings, target)
        return
    if settings.tls_cert is None or settings.tls_key is None:
        raise SettingsError(["tls.cert and tls.key are not set"])
    if target is not None:
        _follow(Follower(settings.tls_cert, settings.tls_key, target))
        return
    click.echo(json.dumps(secret.of_files(settings.tls_cert.absolute(), settings.tls_key.absolute()), indent=2))


def _show_client_authorities(settings: EnvoySettings, target: Path | None) -> None:
    if settings.tls_client_ca is None:
        raise SettingsError(["tls.client_ca is not set"])
    if target is not None:
        _follow(AuthoritiesFollower(settings.tls_client_ca, target))
        return
    click.echo(json.dumps(secret.of_authorities_file(settings.tls_client_ca.absolute()), indent=2))


def _follow(follower: Follower | AuthoritiesFollower) -> None:
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    while True:
        try:
            for sentence in follower.look():
                click.echo(sentence, err=True)
        except OSError as error:
            raise click.ClickException(f"{error.filename}: {error.strerror}") from None
        if stopping.wait(_LOOK_SECONDS):
            return


@command.command()
@config_option
@click.option(
    "--run-dir", type=click.Path(path_type=Path), help="The folder of the Unix sockets of services with a command."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["yaml", "json"]),
    default="yaml",
    show_default=True,
    help="The notation.",
)
def render(config: Path | None, run_dir: Path | None, form: Literal["yaml", "json"]) -> None:
    """Print the Envoy bootstrap for the settings in the file and the environment.

    SSL_CERT_FILE names the certificate authorities for services reached by https, if not the system's.
    """
    environ = dict(os.environ) if run_dir is None else {**os.environ, "RUN_DIR": str(run_dir.absolute())}
    bootstrap = render_bootstrap(
        load(EnvoySettings, config, environ), trusted_cas=environ.get("SSL_CERT_FILE") or SYSTEM_CAS
    )
    click.echo(json.dumps(bootstrap, indent=2) if form == "json" else to_yaml(bootstrap), nl=form == "json")
