"""OPA's Envoy plugin with a policy that does our work: signature, type, issuer, audience, times, scope, headers.

Its settings favour it: no decision log, no metrics, no parsing of bodies, and a cache for verified tokens. It does
not check revocation, because it has no source for that.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from oauth_core.process.ports import free_port
from portcullis.bench import children
from portcullis.bench.fixture import ISSUER, RESOURCE, SCOPE
from portcullis.bench.plan import Target
from portcullis.bench.target import MeasuredService
from portcullis.supervisor.environment import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portcullis.bench.fixture import BenchFixture

PROGRAMS = ("opa-envoy-plugin", "opa_envoy_linux_amd64", "opa_envoy_linux_arm64")
_HINT = "see docs/peers.md for how to install OPA's Envoy plugin"

_POLICY = """\
package portcullis.bench

default decision := {{"allowed": false, "http_status": 401}}

constraints := {{"cert": {jwks}, "alg": {algorithm}, "iss": {issuer}, "aud": {audience}}}

credentials := split(input.attributes.request.http.headers.authorization, " ")

verified := io.jwt.decode_verify(credentials[1], constraints)

claims := verified[2] if {{
	count(credentials) == 2
	lower(credentials[0]) == "bearer"
	verified[0] == true
	verified[1].typ == "at+jwt"
}}

decision := {{
	"allowed": true,
	"headers": {{
		"x-user-id": claims.sub,
		"x-user-name": claims.github_user,
		"x-client-id": claims.client_id,
		"x-token-scope": claims.scope,
	}},
	"request_headers_to_remove": ["authorization"],
}} if {{
	{scope} in split(claims.scope, " ")
}}
"""


def is_installed() -> bool:
    """Whether the program is on PATH."""
    return children.is_there(PROGRAMS, os.environ)


@contextmanager
def running(fixture: BenchFixture, url: str) -> Iterator[MeasuredService]:
    """The plugin on a free loopback port. Raises `BenchFixtureError`."""
    address = f"127.0.0.1:{free_port()}"
    (fixture.folder / "opa.rego").write_text(policy(fixture), encoding="utf-8")
    (fixture.folder / "opa.json").write_text(json.dumps(configuration(address, fixture.tokens)), encoding="utf-8")
    command = [
        children.find(PROGRAMS, os.environ, hint=_HINT),
        *("run", "--server", f"--addr=127.0.0.1:{free_port()}", "--disable-telemetry"),
        *("--log-level=error", f"--config-file={fixture.folder}/opa.json", f"{fixture.folder}/opa.rego"),
    ]
    with children.running(
        "opa", command, plain(os.environ), fixture.folder, lambda: children.listens(address)
    ) as pid:
        yield MeasuredService("opa", Target(address, "check", url), fixture.pool, {"service": pid})


def policy(fixture: BenchFixture) -> str:
    """The policy in Rego."""
    return _POLICY.format(
        jwks=json.dumps(fixture.jwks),
        algorithm=json.dumps(fixture.algorithm),
        issuer=json.dumps(ISSUER),
        audience=json.dumps(RESOURCE),
        scope=json.dumps(SCOPE),
    )


def configuration(address: str, tokens: int) -> dict[str, Any]:
    """OPA's configuration file."""
    return {
        "plugins": {
            "envoy_ext_authz_grpc": {
                "addr": address,
                "path": "portcullis/bench/decision",
                "dry-run": False,
                "enable-reflection": False,
                "skip-request-body-parse": True,
                "enable-performance-metrics": False,
            }
        },
        "caching": {"inter_query_builtin_value_cache": {"named": {"io_jwt": {"max_num_entries": tokens + 100}}}},
    }
