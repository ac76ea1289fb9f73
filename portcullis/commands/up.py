"""`portcullis up`: the whole gateway on this machine, in the foreground."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from oauth_core.errors import SettingsError, StoreUnavailableError
from oauth_core.jose.jwk_set_signature import KeySetSigner
from oauth_core.jose.signing_keys import SigningKey
from oauth_core.policy import session_binding
from oauth_core.process import private_files
from oauth_core.process.audit_segments import this_node
from oauth_core.process.launch import adopt_orphans, kill_children
from oauth_core.process.supervision import SupervisionError
from oauth_core.settings import AuthzSettings, EnvoySettings, WebSettings, load, outdated_names
from portcullis.alerts.outbox import FILE_NAME
from portcullis.audit.seal_key import KEY_NAME, SealKey
from portcullis.audit.sealed_folder import SealedFolder
from portcullis.certificates.folder import CertificateFolder
from portcullis.certificates.pair import AuthoritiesFollower, Follower, faults_of_files
from portcullis.cli.detection_rules import faults_of_responses
from portcullis.programs import envoy as envoy_program
from portcullis.programs import redis
from portcullis.supervisor import adoption_note, console_output, operator_environment, plan, redis_config, reserve
from portcullis.supervisor.child import Failure
from portcullis.supervisor.console import Console
from portcullis.supervisor.environment import search_path
from portcullis.supervisor.log_files import LogFiles
from portcullis.supervisor.options import read_options
from portcullis.supervisor.process_group import ProcessGroup, StartFailedError
from portcullis.supervisor.redis_config import OwnRedis
from portcullis.supervisor.runtime_paths import RuntimePaths
from portcullis.supervisor.state import StateDir, hold

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from portcullis.supervisor.options import UpOptions

_MEBIBYTE = 1024 * 1024
_INSTALL = "pip install --require-hashes -r requirements/audit.txt"


@click.command("up")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=Path("portcullis.toml"),
    envvar="PORTCULLIS_CONFIG",
    show_default=True,
    help="The settings file.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    default=Path(".portcullis"),
    show_default=True,
    help="The folder of Redis' data, generated secrets, sockets and logs.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Listen on this port of the loopback address instead of the issuer's; 0 picks a free one.",
)
def command(config: Path, state_dir: Path, port: int | None) -> None:
    """Run the whole gateway on this machine until Ctrl-C.

    Starts Redis (unless REDIS_URL names one), the authorization server, the check service, the services with a
    command in the settings, and Envoy. Without GITHUB_CLIENT_ID, people sign in at a local stand-in.
    """
    config = config.absolute()
    options = read_options(config, os.environ, port)
    with hold(state_dir, plan.socket_names(options)) as state:
        paths = _prepare(options, config, state)
        children = plan.make_plan(options, paths)
        _check_commands(options)
        console = Console(state.logs / "up.log")
        try:
            _run(options, paths, children, console, state)
        finally:
            console.close()


def _run(options: UpOptions, paths: RuntimePaths, children: plan.Plan, console: Console, state: StateDir) -> None:
    """Run the children until a signal. Exits with 1 or 2 if the gateway did not start, or stopped by a fault."""
    console_output.opening(console, options, state.root)
    console_output.outdated(console, outdated_names(paths.config, paths.environ))
    if paths.master_key_file is not None:
        console_output.kept_key(console, paths.master_key_file)
    adopt_orphans()
    logs = LogFiles(state.logs, options.settings.log_keep_mb * _MEBIBYTE)
    try:
        asyncio.run(
            ProcessGroup(
                logs,
                partial(console_output.progress, console),
                chores=_chores(options, paths),
                once_ready={"redis": partial(_adopt_once, options, paths, state)},
            ).run(children.stages, children.challenges, lambda: console_output.ready(console, options))
        )
    except StartFailedError as error:
        console_output.failed(console, error, state.logs)
        sys.exit(2 if error.failure.wrong_settings else 1)
    except SupervisionError as error:
        console_output.broken(console, error)
        sys.exit(1)
    finally:
        kill_children()
    console_output.stopped(console)


async def _adopt_once(options: UpOptions, paths: RuntimePaths, state: StateDir) -> str | None:
    """Adopt the records that an older version left in our own Redis, at the first start of this version."""
    settings = load(WebSettings, paths.config, plan.web_environment(options, paths))
    try:
        adopted = await adoption_note.adopt_once(state.root, settings)
    except (StoreUnavailableError, OSError) as error:
        raise StartFailedError("redis", Failure(f"its records could not be adopted: {error}")) from None
    if adopted is None:
        return None
    return f"{adopted.total()} records of an older version have authentication codes now"


def _chores(options: UpOptions, paths: RuntimePaths) -> dict[str, Callable[[], list[str]]]:
    """The chores that update Envoy's copies of the operator's certificate and of the clients' authorities."""
    settings = options.settings
    chores: dict[str, Callable[[], list[str]]] = {}
    if settings.tls_cert and settings.tls_key:
        chores["certificate"] = Follower(settings.tls_cert, settings.tls_key, paths.tls_secret_file).look
    if settings.tls_client_ca:
        folder = paths.acme_dir if settings.uses_acme else paths.tls_secret_file.parent
        target = folder / settings.client_authorities_path.name
        chores["client authorities"] = AuthoritiesFollower(settings.tls_client_ca, target).look
    return chores


def _prepare(options: UpOptions, config: Path, state: StateDir) -> RuntimePaths:
    """Create the secrets and configuration files that the plan uses, and check every program's settings."""
    environ = os.environ
    paths = RuntimePaths(
        config=config,
        environ=environ,
        run_dir=state.run_dir,
        logs=state.logs,
        redis=_own_redis(state) if options.own_redis else None,
        master_key_file=None if _brought(environ, "MASTER_KEY") else state.master_key(),
        # Always created, so that a service can get assertions later without a restart.
        assertion_key_file=None if _brought(environ, "ASSERTION_KEY") else state.assertion_key(),
        standin_secret_file=state.password("github-standin-secret") if options.standin else None,
        jwks_verification_key=None,  # set below, from the master key
        has_own_session_key=_brought(environ, "SESSION_KEY"),
        acme_dir=Path(environ["ACME_DIR"]) if environ.get("ACME_DIR") else state.acme,
        audit_dir=(options.settings.audit_dir or state.root / "audit").absolute(),
        audit_seal_key=(options.settings.audit_seal_key or state.root / KEY_NAME).absolute(),
        alerts_outbox=(options.settings.alerts_outbox or state.root / FILE_NAME).absolute(),
        redis_server=_redis_server(environ) if options.own_redis else "",
        envoy=_envoy(),
    )
    master_key = _master_key(options, paths)
    if master_key is not None:
        paths = replace(paths, jwks_verification_key=KeySetSigner(master_key).verification_key)
        if not paths.has_own_session_key:
            private_files.write(paths.session_key_file, session_binding.session_key(master_key))
    envoy_settings = _check_settings(options, paths)
    _make_seal_key(options, paths)
    if paths.assertion_key_file is not None:
        key = SigningKey.from_pem(paths.assertion_key_file.read_bytes(), None, 0)
        private_files.write(paths.assertion_public_file, key.public_pem().decode("ascii"))
    if paths.redis is not None:
        private_files.write(paths.redis_file, redis_config.render(paths.redis))
    # Imported here: the typed configuration takes a second to load, and a wrong setting must fail faster.
    from portcullis.envoy_config import render  # noqa: PLC0415

    private_files.write(
        operator_environment.path(state.root),
        operator_environment.render(options, paths, plan.web_environment(options, paths)),
    )
    private_files.write(paths.envoy_file, json.dumps(render(envoy_settings)))
    if envoy_settings.uses_acme:
        CertificateFolder(paths.acme_dir).show_something(envoy_settings.certificate_names)
    for look in _chores(options, paths).values():
        look()
    return paths


def _make_seal_key(options: UpOptions, paths: RuntimePaths) -> None:
    """Make the sealer's key at the first start.

    A key that is lost later is not replaced: the sealer reports what to do. Raises `SettingsError`.
    """
    key = SealKey(paths.audit_seal_key)
    if key.path.exists() or SealedFolder(paths.audit_dir).root.exists():
        return
    try:
        key.make(options.settings.audit_node or this_node())
    except OSError as error:
        raise SettingsError([f"audit.seal_key: {error.filename or key.path}: {error.strerror}"]) from None


def _brought(environ: Mapping[str, str], name: str) -> bool:
    """Whether the operator provides the secret called `name`."""
    return bool(environ.get(name) or environ.get(f"{name}_FILE"))


def _own_redis(state: StateDir) -> OwnRedis:
    reserve.create_reserve(state.redis)
    users = (redis_config.OPERATOR, redis_config.WEB, redis_config.AUTHZ)
    names = {redis_config.OPERATOR: "redis-password"}
    passwords = {user: state.password(names.get(user, f"redis-password-{user}")) for user in users}
    return OwnRedis(state.run_dir / "redis.sock", state.redis, passwords)


def _master_key(options: UpOptions, paths: RuntimePaths) -> bytes | None:
    """The master key, to which other keys belong; `None` if the authorization server's settings have a fault."""
    try:
        settings = load(WebSettings, paths.config, plan.web_environment(options, paths))
    except SettingsError:
        return None
    return settings.master_key_bytes


def _check_settings(options: UpOptions, paths: RuntimePaths) -> EnvoySettings:
    """Load each program's settings as the program does, and report all faults together."""
    faults: list[str] = []
    envoy = None
    try:
        envoy = load(EnvoySettings, paths.config, plan.envoy_environment(options, paths))
    except SettingsError as error:
        faults += error.faults
    for kind, environ in (
        (WebSettings, plan.web_environment(options, paths)),
        (AuthzSettings, plan.authz_environment(options, paths)),
    ):
        try:
            load(kind, paths.config, environ)
        except SettingsError as error:
            # Without a usable master key there is no verification key either: report the first fault only.
            unset = "check.jwks_verification_key is not set"
            faults += [fault for fault in error.faults if not fault.startswith(unset)]
    faults += faults_of_files(options.settings)
    faults += faults_of_alerts(options)
    faults += faults_of_sinks(options)
    if faults or envoy is None:
        raise SettingsError(list(dict.fromkeys(faults)))
    return envoy


def faults_of_alerts(options: UpOptions) -> list[str]:
    """The faults that would keep alerts back: a missing package, unreadable files, and impossible responses."""
    destinations = options.settings.alerts_destinations
    needed = {"duckdb", "maxminddb", "sigma"} if destinations else set()
    needed |= {"apprise"} & {one.kind for one in destinations}
    missing = sorted(name for name in needed if find_spec(name) is None)
    faults = [f"alerts.destinations: not installed: {', '.join(missing)}; {_INSTALL}"] if missing else []
    for one in destinations:
        faults += [
            f"alerts.destinations {one.name}: {path}: it cannot be read"
            for path in (one.url_file, one.secret_file)
            if path is not None and not os.access(path, os.R_OK)
        ]
    return [*faults, *faults_of_responses(options.settings)]


def faults_of_sinks(options: UpOptions) -> list[str]:
    """The faults that would keep the record back from sinks: a missing package, and files that cannot be read."""
    sinks = options.settings.audit_sinks
    packages = {"otlp": "opentelemetry.proto", "nats": "nats"}
    missing = sorted({name for sink in sinks if not _has_package(name := packages.get(sink.kind, ""))})
    faults = [f"audit.sinks: not installed: {', '.join(missing)}; {_INSTALL}"] if missing else []
    for sink in sinks:
        faults += [
            f"audit.sinks {sink.name}: {path}: it cannot be read"
            for path in sink.files.values()
            if not os.access(path, os.R_OK)
        ]
    return faults


def _has_package(name: str) -> bool:
    """Whether a package is installed, or none is needed."""
    try:
        return not name or find_spec(name) is not None
    except ModuleNotFoundError:  # the package that it would be in
        return False


def _check_commands(options: UpOptions) -> None:
    """Report a missing command, and a variable that is not set, before any child starts."""
    path = search_path(os.environ)
    missing = [
        f"service {service.name}: command {service.command[0]!r} is not on PATH"
        for service in options.settings.services
        if service.command and shutil.which(service.command[0], path=path) is None
    ]
    missing += [
        f"service {service.name}: {name} of its pass_environment is not set"
        for service in options.settings.services
        for name in service.pass_environment
        if name not in os.environ
    ]
    if missing:
        raise SettingsError(missing)


def _redis_server(environ: Mapping[str, str]) -> str:
    program = redis.redis_server(environ)
    redis.check_version(program)
    return program


def _envoy() -> str:
    program = envoy_program.envoy_server(os.environ, search_path(os.environ))
    envoy_program.check_version(program)
    return program
