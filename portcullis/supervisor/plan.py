"""Which children there are, in which order: from the operator's choices to descriptions, with no other effect."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ext_authz.net.listen_addresses import distinct
from oauth_core.net.public_urls import origin_of
from oauth_core.settings import AuthzSettings, EnvoySettings, WebSettings
from portcullis.github_standin.settings import PREFIX
from portcullis.supervisor import environment, redis_config
from portcullis.supervisor.child import ChildSpec
from portcullis.supervisor.probes import CertificateProbe, ChallengeProbe, GrpcProbe, HttpProbe, RedisProbe

if TYPE_CHECKING:
    from oauth_core.settings.services import ServiceSettings
    from portcullis.supervisor.options import UpOptions
    from portcullis.supervisor.redis_config import OwnRedis
    from portcullis.supervisor.runtime_paths import RuntimePaths

_STANDIN_CLIENT = "portcullis-local"
# Without -P Python would import modules from the folder that one happens to stand in.
_PYTHON = (sys.executable, "-P", "-m")

_AUTHZ_TLS = ("AUTHZ_TLS_CERT", "AUTHZ_TLS_KEY", "AUTHZ_TLS_CLIENT_CA")
_UPSTREAM_TLS = ("AUTHZ_UPSTREAM_CA", "AUTHZ_UPSTREAM_NAME", "AUTHZ_UPSTREAM_CERT", "AUTHZ_UPSTREAM_KEY")
# Between machines. Here Envoy and the check service speak over sockets in a folder that only this user can enter.


@dataclass(frozen=True, slots=True)
class Plan:
    """Children by stage: those of one stage start together, once the stage before is ready."""

    stages: tuple[tuple[ChildSpec, ...], ...]
    challenges: tuple[ChallengeProbe, ...]


def socket_names(choices: UpOptions) -> list[str]:
    """The files that will stand in the run folder, to see whether its path is short enough."""
    services = [choices.settings.service_socket(s.name).name for s in choices.settings.services if s.command]
    return ["envoy-admin.sock", *services]


def make_plan(choices: UpOptions, ground: RuntimePaths) -> Plan:
    """All children of one gateway."""
    stages = (
        (_redis(ground, ground.redis),) if ground.redis else (),
        (
            _web(choices, ground),
            _authz(choices, ground),
            *((_standin(choices, ground),) if choices.standin else ()),
            *(_service(s, s.command, choices, ground) for s in choices.settings.services if s.command),
        ),
        (_envoy(ground),),
        # The authority asks its questions through Envoy.
        (_acme(choices, ground),) if choices.settings.uses_acme else (),
    )
    challenges = tuple(
        ChallengeProbe(
            choices.envoy_listen[0],
            service.resource,
            tls=choices.settings.terminates_tls,
            client_required=choices.settings.turns_strangers_away,
        )
        for service in choices.settings.resolved_services
    )
    return Plan(tuple(stage for stage in stages if stage), challenges)


def web_environment(choices: UpOptions, ground: RuntimePaths) -> dict[str, str]:
    """What `oauth_web` is given. It alone has the master key and the GitHub app's secret."""
    github: dict[str, str | None] = {}
    outside = environment.outside(ground.environ)
    if choices.standin:
        # Reached through Envoy, as by browsers, by TLS where there is any; no proxy has a part in talking to this
        # machine.
        outside = environment.trust(ground.environ)
        url = f"{origin_of(choices.settings.issuer)}{PREFIX}"
        github = {
            "GITHUB_CLIENT_ID": _STANDIN_CLIENT,
            "GITHUB_CLIENT_SECRET_FILE": str(ground.standin_secret_file),
            "GITHUB_URL": url,
            "GITHUB_API_URL": f"{url}/api/v3",
            "GITHUB_BACKCHANNEL_URL": url,
            "ALLOWED_GITHUB_USERS": "*" if choices.admits_everybody else None,
        }
    return (
        environment.plain(ground.environ)
        | outside
        | environment.settings_of(
            WebSettings,
            ground.environ,
            ground.config,
            **_common(choices, ground),
            **_redis_access(ground, redis_config.WEB),
            **github,
            LOG_FILE=str(ground.log_of("oauth_web")),
            WEB_LISTEN=f"unix:{ground.web_socket}",
            MASTER_KEY_FILE=str(ground.master_key_file) if ground.master_key_file else None,
            ASSERTION_PUBLIC_KEYS=str(ground.assertion_public_file) if ground.assertion_key_file else None,
        )
    )


def authz_environment(choices: UpOptions, ground: RuntimePaths) -> dict[str, str]:
    """What `ext_authz` is given: neither the master key nor a GitHub secret, and a Redis user that only reads.

    It alone has the key that signs what services are told.
    """
    return environment.plain(ground.environ) | environment.settings_of(
        AuthzSettings,
        ground.environ,
        ground.config,
        **_common(choices, ground),
        **_redis_access(ground, redis_config.AUTHZ),
        LOG_FILE=str(ground.log_of("ext_authz")),
        AUTHZ_LISTEN=f"unix:{ground.authz_socket}",
        AUTHZ_WORKERS=str(choices.authz_workers),
        JWKS_VERIFICATION_KEY=ground.jwks_verification_key,
        **dict.fromkeys(_AUTHZ_TLS, ""),
        ASSERTION_KEY_FILE=str(ground.assertion_key_file) if ground.assertion_key_file else None,
    )


def envoy_environment(choices: UpOptions, ground: RuntimePaths) -> dict[str, str]:
    """The settings that the Envoy configuration is rendered from."""
    return environment.settings_of(
        EnvoySettings,
        ground.environ,
        ground.config,
        **_common(choices, ground),
        ENVOY_LISTEN=",".join(choices.envoy_listen),
        ENVOY_ADMIN=f"unix:{ground.admin_socket}",
        WEB_UPSTREAM=f"unix:{ground.web_socket}",
        AUTHZ_UPSTREAM=",".join(f"unix:{socket}" for socket in _authz_sockets(choices, ground)),
        STANDIN_UPSTREAM=f"unix:{ground.standin_socket}" if choices.standin else None,
        TLS_SECRET=str(ground.tls_secret_file),
        ACME_UPSTREAM=f"unix:{ground.acme_socket}",
        **dict.fromkeys(_UPSTREAM_TLS, ""),
        ACME_DIR=str(ground.acme_dir),
    )


def acme_environment(choices: UpOptions, ground: RuntimePaths) -> dict[str, str]:
    """What `portcullis acme` is given: the settings of the edge, and how to reach the outside."""
    return (
        environment.plain(ground.environ)
        | environment.outside(ground.environ)
        | envoy_environment(choices, ground)
        | {"ACME_LISTEN": f"unix:{ground.acme_socket}", "LOG_FILE": str(ground.log_of("acme"))}
    )


def _common(choices: UpOptions, ground: RuntimePaths) -> dict[str, str | None]:
    return {"ISSUER": choices.settings.issuer, "RUN_DIR": str(ground.run_dir)}


def _redis_access(ground: RuntimePaths, user: str) -> dict[str, str | None]:
    if ground.redis is None:
        return {}
    return {"REDIS_URL": ground.redis.url(user), "REDIS_PASSWORD_FILE": str(ground.redis.passwords[user])}


def _redis(ground: RuntimePaths, redis: OwnRedis) -> ChildSpec:
    return ChildSpec(
        name="redis",
        command=(ground.redis_server, str(ground.redis_file)),
        environment=environment.plain(ground.environ),
        probe=RedisProbe(redis.url(redis_config.OPERATOR), redis.passwords[redis_config.OPERATOR]),
        sockets=(redis.socket,),
    )


def _web(choices: UpOptions, ground: RuntimePaths) -> ChildSpec:
    return ChildSpec(
        name="oauth_web",
        command=(*_PYTHON, "oauth_web"),
        environment=web_environment(choices, ground),
        probe=HttpProbe(ground.web_socket, "/healthz"),
        sockets=(ground.web_socket,),
        follows_log=True,
    )


def _authz_sockets(choices: UpOptions, ground: RuntimePaths) -> tuple[Path, ...]:
    """One for each worker, so that Envoy can give them even shares."""
    addresses = distinct([f"unix:{ground.authz_socket}"], choices.authz_workers)
    return tuple(Path(address.removeprefix("unix:")) for address in addresses)


def _authz(choices: UpOptions, ground: RuntimePaths) -> ChildSpec:
    sockets = _authz_sockets(choices, ground)
    return ChildSpec(
        name="ext_authz",
        command=(*_PYTHON, "ext_authz"),
        environment=authz_environment(choices, ground),
        probe=GrpcProbe(sockets),
        sockets=sockets,
        follows_log=True,
    )


def _standin(choices: UpOptions, ground: RuntimePaths) -> ChildSpec:
    return ChildSpec(
        name="github-standin",
        command=(*_PYTHON, "portcullis", "github-standin", "--listen", f"unix:{ground.standin_socket}"),
        environment=environment.plain(ground.environ)
        | {
            "ISSUER": choices.settings.issuer,
            "GITHUB_CLIENT_ID": _STANDIN_CLIENT,
            "GITHUB_CLIENT_SECRET_FILE": str(ground.standin_secret_file),
        },
        probe=HttpProbe(ground.standin_socket, f"{PREFIX}/healthz"),
        sockets=(ground.standin_socket,),
    )


def _service(
    service: ServiceSettings, command: tuple[str, ...], choices: UpOptions, ground: RuntimePaths
) -> ChildSpec:
    socket = ground.run_dir / choices.settings.service_socket(service.name).name
    if service.transport == "http":
        command = tuple(argument.replace("{socket}", str(socket)) for argument in command)
    else:
        command = (*_PYTHON, "portcullis", "bridge", "--listen", f"unix:{socket}", "--", *command)
    return ChildSpec(
        name=f"service-{service.name}",
        command=command,
        environment={name: ground.environ[name] for name in service.pass_environment if name in ground.environ}
        | environment.plain(ground.environ)
        | environment.outside(ground.environ),
        probe=HttpProbe(socket, "/mcp", healthy=False),
        essential=False,
        sockets=(socket,),
    )


def _envoy(ground: RuntimePaths) -> ChildSpec:
    return ChildSpec(
        name="envoy",
        command=(
            ground.envoy,
            "--config-path",
            str(ground.envoy_file),
            "--disable-hot-restart",
            "--log-level",
            "warn",
        ),
        environment=environment.plain(ground.environ),
        probe=HttpProbe(ground.admin_socket, "/ready"),
        sockets=(ground.admin_socket,),
    )


def _acme(choices: UpOptions, ground: RuntimePaths) -> ChildSpec:
    return ChildSpec(
        name="acme",
        command=(*_PYTHON, "portcullis", "acme", "run"),
        environment=acme_environment(choices, ground),
        probe=CertificateProbe(ground.acme_dir, choices.settings.certificate_names),
        essential=False,  # with the authority away, a certificate that is still good goes on serving
        sockets=(ground.acme_socket,),
        follows_log=True,
    )
