"""Two people at the same services: each sees only what they may use, and uses only their own sessions."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from fastmcp import Client as FastMCPClient
from fastmcp.client.transports import StreamableHttpTransport
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from oauth_core.policy.session_binding import OpenedSession, SessionSealer, read_session_keys
from tests.support.gateway import RunningGateway, operate, running_gateway
from tests.support.mcp_clients import INITIALIZE, MCP_HEADERS, bearer, claims_of
from tests.support.oauth_client import OAuthClient
from tests.support.project import ROOT
from tests.system.gateway.ruled_service import token_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

FORMS = ("json", "events")
_RULES = """
[services.permissions]
tools = {{ "get_*" = "mcp.{name}.read", "*" = "mcp.{name}.write" }}
prompts = {{ "read_*" = "mcp.{name}.read", "*" = "mcp.{name}.write" }}
resources = {{ "file:///public/*" = "mcp.{name}.read", "file:///*" = ["mcp.{name}.read", "mcp.{name}.write"] }}
"""


_OFF = """filter_lists = false
bind_sessions = false
"""


def _service(name: str, form: str, *, rules: bool = True, more: str = "") -> str:
    command = json.dumps([sys.executable, "-m", "tests.system.gateway.listing_server", "unix:{socket}", form])
    return f"""
[[services]]
name = "{name}"
command = {command}
transport = "http"
pass_environment = ["PYTHONPATH"]
{more}{_RULES.format(name=name) if rules else ""}"""


CONFIG = f"""
issuer = "http://localhost:8080"
{_service("json", "json")}
{_service("events", "events")}
{_service("open", "json", more=_OFF)}
{_service("plain", "events", rules=False)}

[roles.reader]
permissions = ["mcp.json.read", "mcp.events.read", "mcp.open.read", "mcp.plain"]
users = ["octocat"]

[roles.writer]
permissions = ["mcp.json", "mcp.events", "mcp.open", "mcp.plain"]
users = ["hubot"]
"""
LISTS = {
    "tools/list": ("tools", "name", ["get_note"], ["purge"]),
    "prompts/list": ("prompts", "name", ["read_aloud"], ["tidy_up"]),
    "resources/list": ("resources", "uri", ["file:///public/index"], ["file:///private/key"]),
    "resources/templates/list": (
        "resourceTemplates",
        "uriTemplate",
        ["file:///public/{name}"],
        ["file:///private/{name}"],
    ),
}
"""For each method: the list, the name of an entry, and the names for readers and for writers only."""


@pytest.fixture(scope="module")
def gateway() -> Iterator[RunningGateway]:
    """A gateway with a reader (octocat) and a writer (hubot)."""
    with running_gateway(config=CONFIG, environ={"PYTHONPATH": str(ROOT)}) as gateway:
        yield gateway


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=60.0) as http:
        yield http


@dataclass
class Person:
    """A person with a token for one service, and their session there."""

    http: httpx2.AsyncClient
    resource: str
    token: str
    session: str | None = None
    numbers: count[int] = field(default_factory=lambda: count(2))

    @property
    def headers(self) -> dict[str, str]:
        session = {} if self.session is None else {"Mcp-Session-Id": self.session}
        return {**MCP_HEADERS, **bearer(self.token), **session, "Mcp-Protocol-Version": "2025-06-18"}

    async def begin(self) -> None:
        """Begin a session."""
        self.session = None
        opened = await self.http.post(self.resource, json=INITIALIZE, headers=self.headers)
        assert opened.status_code == 200, opened.text
        self.session = opened.headers["Mcp-Session-Id"]
        ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert (await self.http.post(self.resource, json=ready, headers=self.headers)).status_code == 202

    async def ask(self, method: str, **params: Any) -> httpx2.Response:
        message = {"jsonrpc": "2.0", "id": next(self.numbers), "method": method, "params": params}
        return await self.http.post(self.resource, json=message, headers=self.headers)

    async def names(self, method: str) -> list[str]:
        """The names in a list."""
        answer = await self.ask(method)
        assert answer.status_code == 200, answer.text
        member, name, *_ = LISTS[method]
        return sorted(entry[name] for entry in result_in(answer)[member])


def result_in(answer: httpx2.Response) -> dict[str, Any]:
    """The result in an answer of either form."""
    text = answer.text
    if answer.headers["Content-Type"].startswith("text/event-stream"):
        (text,) = (line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {"))
    result: dict[str, Any] = json.loads(text)["result"]
    return result


async def person(gateway: RunningGateway, http: httpx2.AsyncClient, login: str, service: str) -> Person:
    scope = f"mcp.{service}"
    return Person(http, gateway.resource(service), await token_of(gateway, login, scope, service))


async def two_people(gateway: RunningGateway, http: httpx2.AsyncClient, service: str) -> tuple[Person, Person]:
    """A reader and a writer, each with a session."""
    people = (await person(gateway, http, "octocat", service), await person(gateway, http, "hubot", service))
    for one in people:
        await one.begin()
    return people


# -- lists -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", FORMS)
async def test_lists_of_two_people_differ_and_have_what_each_may_use(
    gateway: RunningGateway, http: httpx2.AsyncClient, service: str
) -> None:
    reader, writer = await two_people(gateway, http, service)
    for method, (_, _, shown, hidden) in LISTS.items():
        assert await reader.names(method) == shown
        assert await writer.names(method) == sorted([*shown, *hidden])
    for one, status in ((reader, 403), (writer, 200)):
        assert (await one.ask("tools/call", name="get_note", arguments={"name": "a"})).status_code == 200
        assert (await one.ask("tools/call", name="purge", arguments={})).status_code == status
        assert (await one.ask("resources/read", uri="file:///private/key")).status_code == status


async def test_a_token_with_fewer_scopes_sees_fewer_entries(
    gateway: RunningGateway, http: httpx2.AsyncClient
) -> None:
    writer = Person(http, gateway.resource("json"), await token_of(gateway, "hubot", "mcp.json.read", "json"))
    await writer.begin()
    assert await writer.names("tools/list") == ["get_note"]


async def test_the_filter_leaves_the_answers_form_and_its_other_members(
    gateway: RunningGateway, http: httpx2.AsyncClient
) -> None:
    for service, form in (("json", "application/json"), ("events", "text/event-stream")):
        reader, writer = await two_people(gateway, http, service)
        short, whole = await reader.ask("tools/list"), await writer.ask("tools/list")
        assert short.headers["Content-Type"].startswith(form)
        (tool,) = result_in(short)["tools"]
        assert tool in result_in(whole)["tools"]
        assert {**result_in(whole), "tools": [tool]} == result_in(short)


@pytest.mark.parametrize("service", ["open", "plain"])
async def test_lists_are_whole_without_rules_and_where_the_filter_is_off(
    gateway: RunningGateway, http: httpx2.AsyncClient, service: str
) -> None:
    reader = await person(gateway, http, "octocat", service)
    await reader.begin()
    assert await reader.names("tools/list") == ["get_note", "purge"]


@pytest.mark.parametrize("service", FORMS)
async def test_real_clients_see_the_short_lists(
    gateway: RunningGateway, http: httpx2.AsyncClient, service: str
) -> None:
    reader = await person(gateway, http, "octocat", service)
    async with (
        httpx2.AsyncClient(headers=bearer(reader.token), timeout=60.0) as authorized,
        Client(streamable_http_client(reader.resource, http_client=authorized)) as sdk,
    ):
        assert [tool.name for tool in (await sdk.list_tools()).tools] == ["get_note"]
        assert (await sdk.call_tool("get_note", {"name": "a"})).structured_content == {"result": "note a"}
    transport = StreamableHttpTransport(reader.resource, headers=bearer(reader.token))
    async with FastMCPClient(transport) as fastmcp:
        assert [tool.name for tool in await fastmcp.list_tools()] == ["get_note"]
        assert [prompt.name for prompt in await fastmcp.list_prompts()] == ["read_aloud"]
        assert [str(one.uri) for one in await fastmcp.list_resources()] == ["file:///public/index"]


# -- sessions ----------------------------------------------------------------------------------------------------

_PING = {"jsonrpc": "2.0", "id": 9, "method": "ping"}


@pytest.mark.requirement("mcp-sessions:bound", "mcp-sessions:unknown-404")
@pytest.mark.parametrize("service", [*FORMS, "plain"])
async def test_one_person_cannot_use_list_resume_or_end_the_session_of_another(
    gateway: RunningGateway, http: httpx2.AsyncClient, service: str
) -> None:
    owner, other = await two_people(gateway, http, service)
    assert owner.session is not None
    raw = owner.session.split(".", 2)[2]
    for session in (owner.session, raw, owner.session[:-1], f"{owner.session}x"):
        stolen = Person(http, other.resource, other.token, session)
        for method in ("ping", "tools/list"):
            refused = await stolen.ask(method)
            assert refused.status_code == 404
            assert refused.json()["error"]["data"]["error"] == "not_found"
        assert (await http.get(stolen.resource, headers=stolen.headers)).status_code == 404
        resumed = await http.get(stolen.resource, headers={**stolen.headers, "Last-Event-ID": "1"})
        assert resumed.status_code == 404
        assert (await http.delete(stolen.resource, headers=stolen.headers)).status_code == 404
    assert (await owner.ask("ping")).status_code == 200
    gateway.audited("ext_authz", reason="unknown_session", user="hubot", service=service)


@pytest.mark.requirement("mcp-sessions:end")
async def test_the_owner_uses_resumes_and_ends_a_session(
    gateway: RunningGateway, http: httpx2.AsyncClient
) -> None:
    owner = await person(gateway, http, "octocat", "plain")
    await owner.begin()
    assert (await owner.ask("tools/call", name="get_note", arguments={"name": "a"})).status_code == 200
    async with http.stream("GET", owner.resource, headers=owner.headers) as stream:
        assert stream.status_code == 200
    assert (await http.delete(owner.resource, headers=owner.headers)).status_code in {200, 204}
    gone = await owner.ask("ping")
    assert gone.status_code == 404, "the service's own answer: the session has ended"


async def test_a_new_token_of_the_person_keeps_the_session(
    gateway: RunningGateway, http: httpx2.AsyncClient
) -> None:
    owner = await person(gateway, http, "octocat", "plain")
    await owner.begin()
    owner.token = await token_of(gateway, "octocat", "mcp.plain", "plain")
    assert (await owner.ask("ping")).status_code == 200


async def test_the_command_prints_the_key_that_seals_sessions(
    gateway: RunningGateway, http: httpx2.AsyncClient
) -> None:
    owner = await person(gateway, http, "octocat", "plain")
    await owner.begin()
    sealer = SessionSealer(*read_session_keys(operate(gateway, "keys", "session-key")["session_key"]))
    opened = sealer.open("plain", f"person:{claims_of(owner.token)['sub']}", owner.session or "")
    assert isinstance(opened, OpenedSession)


async def test_a_session_of_one_service_is_unknown_at_another(
    gateway: RunningGateway, http: httpx2.AsyncClient
) -> None:
    owner = await person(gateway, http, "octocat", "json")
    await owner.begin()
    elsewhere = await person(gateway, http, "octocat", "events")
    elsewhere.session = owner.session
    assert (await elsewhere.ask("ping")).status_code == 404


async def test_sessions_stay_as_the_service_made_them_where_binding_is_off(
    gateway: RunningGateway, http: httpx2.AsyncClient
) -> None:
    owner, other = await two_people(gateway, http, "open")
    assert owner.session is not None
    assert "." not in owner.session
    stolen = Person(http, other.resource, other.token, owner.session)
    assert (await stolen.ask("ping")).status_code == 200


async def test_a_client_begins_a_new_session_after_404(gateway: RunningGateway) -> None:
    async with OAuthClient(gateway.url) as oauth:
        registered = await oauth.register()
        token = (await oauth.tokens(registered.client_id, resource=gateway.resource("plain")))["access_token"]
    async with httpx2.AsyncClient(timeout=60.0) as http:
        owner = Person(http, gateway.resource("plain"), token, "a-session-from-before-the-upgrade")
        assert (await owner.ask("ping")).status_code == 404
        await owner.begin()
        assert (await owner.ask("ping")).status_code == 200
