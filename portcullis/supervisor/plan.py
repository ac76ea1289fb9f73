"""Makes the descriptions of all children, in their order, from the operator's options. It has no other effect."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ext_authz.net.listen_addresses import distinct
from oauth_core.net.public_urls import origin_of
from oauth_core.settings import (
    AlertSettings,
    AuthzSettings,
    EnvoySettings,
    MonitorSettings,
    SinkSettings,
    WebSettings,
)
from portcullis.alerts.outbox import lock_of
from portcullis.audit import checkpoint_monitor
from portcullis.audit.sealed_folder import SealedFolder
from portcullis.github_standin.settings import PREFIX
from portcullis.sinks.cursors import Cursors
from portcullis.supervisor import environment, operator_environment, redis_config
from portcullis.supervisor.child import ChildSpec
from portcullis.supervisor.probes import (
    CertificateProbe,
    ChallengeProbe,
    GrpcProbe,
    HttpProbe,
    LockProbe,
    RedisProbe,
)

if TYPE_CHECKING:
    from oauth_core.settings.services import ServiceSettings
    from portcullis.supervisor.options import UpOptions
    from portcullis.supervisor.redis_config import OwnRedis
    from portcullis.supervisor.runtime_paths import RuntimePaths

_STANDIN_CLIENT = "portcullis-local"
# Without -P Python would import modules from the current folder.
_PYTHON = (sys.executable, "-P", "-m")

_AUTHZ_TLS = ("AUTHZ_TLS_CERT", "AUTHZ_TLS_KEY", "AUTHZ_TLS_CLIENT_CA")
_UPSTREAM_TLS = ("AUTHZ_UPSTREAM_CA", "AUTHZ_UPSTREAM_NAME", "AUTHZ_UPSTREAM_CERT", "AUTHZ_UPSTREAM_KEY")
# For several machines. Here Envoy and the check service use sockets in a folder of this user only.


@dataclass(frozen=True, slots=True)
class Plan:
    """Children by stage: those of one stage start together, after the stage before is ready."""

    stages: tuple[tuple[ChildSpec, ...], ...]
    challenges: tuple[ChallengeProbe, ...]


def socket_names(options: UpOptions) -> list[str]:
    """The files of the run folder, to check that its path is short enough."""
    services = [options.settings.service_socket(s.name).name for s in options.settings.services if s.command]
    return ["envoy-admin.sock", *services]


def make_plan(options: UpOptions, paths: RuntimePaths) -> Plan:
    """All children of one gateway."""
    stages = (
        # The sealer is stopped last, so that it seals what the others write at their end.
        (*((_redis(paths, paths.redis),) if paths.redis else ()), _sealer(options, paths)),
        (
            _web(options, paths),
            _authz(options, paths),
            *((_standin(options, paths),) if options.standin else ()),
            *(_service(s, s.command, options, paths) for s in options.settings.services if s.command),
        ),
        (_envoy(paths),),
        (
            # The authority sends its challenges through Envoy.
            *((_acme(options, paths),) if options.settings.uses_acme else ()),
            # No other program waits for alerts, or for sinks.
            *((_alerts(options, paths),) if options.settings.alerts_destinations else ()),
            *((_sinks(options, paths),) if options.settings.audit_sinks else ()),
            *((_monitor(options, paths),) if options.settings.audit_monitor_listen else ()),
        ),
    )
    challenges = tuple(
        ChallengeProbe(
            options.envoy_listen[0],
            service.resource,
            tls=options.settings.terminates_tls,
            client_required=options.settings.requires_client_certificate,
        )
        for service in options.settings.resolved_services
    )
    return Plan(tuple(stage for stage in stages if stage), challenges)


def web_environment(options: UpOptions, paths: RuntimePaths) -> dict[str, str]:
    """The environment of `oauth_web`. It alone has the master key and the GitHub app's secret."""
    github: dict[str, str | None] = {}
    outside = environment.outside(paths.environ)
    if options.standin:
        # `oauth_web` reaches the stand-in through Envoy, as browsers do, with TLS if Envoy has it, and never by a
        # proxy, because it is on this machine.
        outside = environment.trust(paths.environ)
        url = f"{origin_of(options.settings.issuer)}{PREFIX}"
        github = {
            "GITHUB_CLIENT_ID": _STANDIN_CLIENT,
            "GITHUB_CLIENT_SECRET_FILE": str(paths.standin_secret_file),
            "GITHUB_URL": url,
            "GITHUB_API_URL": f"{url}/api/v3",
            "GITHUB_BACKCHANNEL_URL": url,
            "ALLOWED_GITHUB_USERS": "*" if options.allows_every_user else None,
        }
    return (
        environment.plain(paths.environ)
        | outside
        | environment.settings_of(
            WebSettings,
            paths.environ,
            paths.config,
            **_common(options, paths),
            **_redis_access(paths, redis_config.WEB),
            **github,
            LOG_FILE=str(paths.log_of("oauth_web")),
            WEB_LISTEN=f"unix:{paths.web_socket}",
            MASTER_KEY_FILE=str(paths.master_key_file) if paths.master_key_file else None,
            ASSERTION_PUBLIC_KEYS=str(paths.assertion_public_file) if paths.assertion_key_file else None,
        )
    )


def authz_environment(options: UpOptions, paths: RuntimePaths) -> dict[str, str]:
    """The environment of `ext_authz`: no master key and no GitHub secret, and a Redis user that only reads.

    It alone has the keys that sign assertions for services and bind sessions.
    """
    return environment.plain(paths.environ) | environment.settings_of(
        AuthzSettings,
        paths.environ,
        paths.config,
        **_common(options, paths),
        **_redis_access(paths, redis_config.AUTHZ),
        LOG_FILE=str(paths.log_of("ext_authz")),
        AUTHZ_LISTEN=f"unix:{paths.authz_socket}",
        AUTHZ_WORKERS=str(options.authz_workers),
        JWKS_VERIFICATION_KEY=paths.jwks_verification_key,
        **dict.fromkeys(_AUTHZ_TLS, ""),
        ASSERTION_KEY_FILE=str(paths.assertion_key_file) if paths.assertion_key_file else None,
        SESSION_KEY_FILE=str(paths.session_key_file) if paths.makes_session_key else None,
    )


def envoy_environment(options: UpOptions, paths: RuntimePaths) -> dict[str, str]:
    """The settings from which the Envoy configuration is rendered."""
    return environment.settings_of(
        EnvoySettings,
        paths.environ,
        paths.config,
        **_common(options, paths),
        ENVOY_LISTEN=",".join(options.envoy_listen),
        ENVOY_ADMIN=f"unix:{paths.admin_socket}",
        WEB_UPSTREAM=f"unix:{paths.web_socket}",
        AUTHZ_UPSTREAM=",".join(f"unix:{socket}" for socket in _authz_sockets(options, paths)),
        STANDIN_UPSTREAM=f"unix:{paths.standin_socket}" if options.standin else None,
        TLS_SECRET=str(paths.tls_secret_file),
        ACME_UPSTREAM=f"unix:{paths.acme_socket}",
        **dict.fromkeys(_UPSTREAM_TLS, ""),
        ACME_DIR=str(paths.acme_dir),
    )


def acme_environment(options: UpOptions, paths: RuntimePaths) -> dict[str, str]:
    """The environment of `portcullis acme`: the settings of the edge, and those for the internet."""
    return (
        environment.plain(paths.environ)
        | environment.outside(paths.environ)
        | envoy_environment(options, paths)
        | {"ACME_LISTEN": f"unix:{paths.acme_socket}", "LOG_FILE": str(paths.log_of("acme"))}
    )


def _common(options: UpOptions, paths: RuntimePaths) -> dict[str, str | None]:
    return {
        "ISSUER": options.settings.issuer,
        "RUN_DIR": str(paths.run_dir),
        "AUDIT_DIR": str(paths.audit_dir),
    }


def _redis_access(paths: RuntimePaths, user: str) -> dict[str, str | None]:
    if paths.redis is None:
        return {}
    return {"REDIS_URL": paths.redis.url(user), "REDIS_PASSWORD_FILE": str(paths.redis.passwords[user])}


def _redis(paths: RuntimePaths, redis: OwnRedis) -> ChildSpec:
    return ChildSpec(
        name="redis",
        command=(paths.redis_server, str(paths.redis_file)),
        environment=environment.plain(paths.environ),
        probe=RedisProbe(redis.url(redis_config.OPERATOR), redis.passwords[redis_config.OPERATOR]),
        sockets=(redis.socket,),
    )


_OF_SEALER = (
    "AUDIT_CHECKPOINT_FILE",
    "AUDIT_CHECKPOINT_URL",
    "AUDIT_TIMESTAMP_URL",
    "AUDIT_TIMESTAMP_CA_FILE",
    "AUDIT_MONITOR_CA_FILE",
    "AUDIT_METRICS_LISTEN",
    "AUDIT_KEEP_DAYS",
    "AUDIT_KEEP_BYTES",
)


def _sealer(options: UpOptions, paths: RuntimePaths) -> ChildSpec:
    given = {name: getattr(options.settings, name.lower()) for name in _OF_SEALER}
    given["AUDIT_MONITORS"] = ",".join(options.settings.audit_monitors) or None
    if options.settings.audit_timestamp_url:
        given["AUDIT_TIMESTAMP_MINUTES"] = options.settings.audit_timestamp_minutes
    place = ("--audit-dir", str(paths.audit_dir), "--key-file", str(paths.audit_seal_key))
    return ChildSpec(
        name="sealer",
        command=(*_PYTHON, "portcullis", "audit", "seal", *place),
        environment=environment.plain(paths.environ)
        | environment.outside(paths.environ)
        | {name: str(value) for name, value in given.items() if value is not None},
        probe=LockProbe(SealedFolder(paths.audit_dir).lock),
        essential=False,  # without it, events are recorded and not sealed yet
    )


def _alerts(options: UpOptions, paths: RuntimePaths) -> ChildSpec:
    """It gets no secret: the settings file names the files of its secrets.

    With automatic responses it gets those with which operators' commands reach the gateway.
    """
    rights: dict[str, str] = {}
    if options.settings.detection_responses:
        of_web = environment.settings_of(WebSettings, paths.environ, paths.config)
        rights = {name: value for name, value in of_web.items() if not name.startswith("GITHUB_")}
        given = operator_environment.variables(options, paths)
        for name in given:
            rights.pop(name.removesuffix("_FILE"), None)
        rights |= given
    return ChildSpec(
        name="alerts",
        command=(*_PYTHON, "portcullis", "alerts", "run", "--config", str(paths.config)),
        environment=rights
        | environment.plain(paths.environ)
        | environment.outside(paths.environ)
        | environment.settings_of(
            AlertSettings,
            paths.environ,
            paths.config,
            **_common(options, paths),
            ALERTS_OUTBOX=str(paths.alerts_outbox),
        )
        | {"AUDIT_SEAL_KEY": str(paths.audit_seal_key)},
        probe=LockProbe(lock_of(paths.alerts_outbox)),
        essential=False,  # without it, alerts wait; nothing else does
    )


def _sinks(options: UpOptions, paths: RuntimePaths) -> ChildSpec:
    """It gets no secret and no key: the settings file names the files of its secrets."""
    return ChildSpec(
        name="sinks",
        command=(*_PYTHON, "portcullis", "audit", "ship", "--config", str(paths.config)),
        environment=environment.plain(paths.environ)
        | environment.outside(paths.environ)
        | environment.settings_of(SinkSettings, paths.environ, paths.config, **_common(options, paths))
        | {"AUDIT_SEAL_KEY": str(paths.audit_seal_key)},
        probe=LockProbe(Cursors(paths.audit_dir).lock),
        essential=False,  # without it, the record waits on the disk
    )


def _monitor(options: UpOptions, paths: RuntimePaths) -> ChildSpec:
    """It gets no key of this node: it only verifies what others have signed."""
    folder = options.settings.audit_monitor_dir or checkpoint_monitor.folder_beside(paths.audit_dir)
    return ChildSpec(
        name="monitor",
        command=(*_PYTHON, "portcullis", "audit", "monitor", "--config", str(paths.config)),
        environment=environment.plain(paths.environ)
        | environment.settings_of(MonitorSettings, paths.environ, paths.config, **_common(options, paths)),
        probe=LockProbe(checkpoint_monitor.lock_of(folder)),
        essential=False,  # without it, other nodes try again
    )


def _web(options: UpOptions, paths: RuntimePaths) -> ChildSpec:
    return ChildSpec(
        name="oauth_web",
        command=(*_PYTHON, "oauth_web"),
        environment=web_environment(options, paths),
        probe=HttpProbe(paths.web_socket, "/healthz"),
        sockets=(paths.web_socket,),
        follows_log=True,
    )


def _authz_sockets(options: UpOptions, paths: RuntimePaths) -> tuple[Path, ...]:
    """A socket for each worker, so that Envoy can balance between them."""
    addresses = distinct([f"unix:{paths.authz_socket}"], options.authz_workers)
    return tuple(Path(address.removeprefix("unix:")) for address in addresses)


def _authz(options: UpOptions, paths: RuntimePaths) -> ChildSpec:
    sockets = _authz_sockets(options, paths)
    return ChildSpec(
        name="ext_authz",
        command=(*_PYTHON, "ext_authz"),
        environment=authz_environment(options, paths),
        probe=GrpcProbe(sockets),
        sockets=sockets,
        follows_log=True,
    )


def _standin(options: UpOptions, paths: RuntimePaths) -> ChildSpec:
    return ChildSpec(
        name="github-standin",
        command=(*_PYTHON, "portcullis", "github-standin", "--listen", f"unix:{paths.standin_socket}"),
        environment=environment.plain(paths.environ)
        | {
            "ISSUER": options.settings.issuer,
            "GITHUB_CLIENT_ID": _STANDIN_CLIENT,
            "GITHUB_CLIENT_SECRET_FILE": str(paths.standin_secret_file),
        },
        probe=HttpProbe(paths.standin_socket, f"{PREFIX}/healthz"),
        sockets=(paths.standin_socket,),
    )


def _service(
    service: ServiceSettings, command: tuple[str, ...], options: UpOptions, paths: RuntimePaths
) -> ChildSpec:
    socket = paths.run_dir / options.settings.service_socket(service.name).name
    if service.transport == "http":
        command = tuple(argument.replace("{socket}", str(socket)) for argument in command)
    else:
        command = (*_PYTHON, "portcullis", "bridge", "--listen", f"unix:{socket}", "--", *command)
    return ChildSpec(
        name=f"service-{service.name}",
        command=command,
        environment={name: paths.environ[name] for name in service.pass_environment if name in paths.environ}
        | environment.plain(paths.environ)
        | environment.outside(paths.environ),
        probe=HttpProbe(socket, "/mcp", healthy=False),
        essential=False,
        sockets=(socket,),
    )


def _envoy(paths: RuntimePaths) -> ChildSpec:
    return ChildSpec(
        name="envoy",
        command=(
            paths.envoy,
            "--config-path",
            str(paths.envoy_file),
            "--disable-hot-restart",
            "--log-level",
            "warn",
        ),
        environment=environment.plain(paths.environ),
        probe=HttpProbe(paths.admin_socket, "/ready"),
        sockets=(paths.admin_socket,),
    )


def _acme(options: UpOptions, paths: RuntimePaths) -> ChildSpec:
    return ChildSpec(
        name="acme",
        command=(*_PYTHON, "portcullis", "acme", "run"),
        environment=acme_environment(options, paths),
        probe=CertificateProbe(paths.acme_dir, options.settings.certificate_names),
        essential=False,  # without the authority, a certificate that is still valid stays in use
        sockets=(paths.acme_socket,),
        follows_log=True,
    )
