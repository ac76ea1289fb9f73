"""The Envoys of other projects: the configuration of each, generated from our examples, and the socket of the
check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.envoy.own_envoy import as_envoy_gateway, as_istio

if TYPE_CHECKING:
    from tests.support.authz_process import AuthzProcess

MANAGERS = {"istio": as_istio.manager, "envoy gateway": as_envoy_gateway.manager}


def socket_of(authz: AuthzProcess) -> str:
    """The path of the socket that the check service listens on."""
    return authz.address.removeprefix("unix:")
