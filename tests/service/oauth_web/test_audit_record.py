"""The authorization server and operators' commands record each action before and after it, or refuse it."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.support import forks
from tests.support.audit_record import boots_of, events_in, is_closed, recorded
from tests.support.audit_sealing import SealedWorld
from tests.support.oauth_client import OAuthClient, Pkce
from tests.support.programs import PORTCULLIS, until
from tests.support.small_disk import fill, small_disk
from tests.support.web_process import WebServer, running_web

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DISK_MEGABYTES = 32


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    with small_disk(_DISK_MEGABYTES) as folder:
        yield folder


@pytest.fixture(scope="module")
def web(disk: Path) -> Iterator[WebServer]:
    """A server that records on a disk of its own."""
    with running_web({"AUDIT_DIR": str(disk / "audit")}) as server:
        yield server


@pytest.fixture
def audit_dir(web: WebServer) -> Path:
    return type(web.log)(web.environment["AUDIT_DIR"])


def operate(web: WebServer, *arguments: str, expect: int = 0) -> tuple[str, str]:
    """Run an operator's command. Return its two outputs."""
    done = forks.run("portcullis", *arguments, environment=web.environment)
    assert done.returncode == expect, done.stderr
    return done.stdout, done.stderr


def outcomes(events: list[dict[str, Any]], kind: str) -> list[str]:
    return [event["outcome"] for event in events if event["event"] == kind]


def wait_for(audit_dir: Path, kind: str, **fields: str) -> None:
    """Return once an event of this kind with these fields that is no intent is on the disk."""

    def events() -> list[dict[str, Any]]:
        return [event for event in recorded(audit_dir, "oauth_web") if fields.items() <= event.items()]

    until(lambda: set(outcomes(events(), kind)) - {"intent"}, f"{kind} is on the disk")


def guesses(audit_dir: Path, kind: str) -> int:
    """The guesses of codes or secrets on the disk. Further ones within a second are one event with `count`."""
    return sum(
        event.get("count", 1)
        for event in recorded(audit_dir)
        if event["event"] == kind and (kind != "token.refused" or "code is unknown" in event["reason"])
    )


async def test_a_sign_in_is_recorded_with_its_intents_and_its_results(
    web: WebServer, client: OAuthClient, audit_dir: Path
) -> None:
    client.http.headers |= {"User-Agent": "agent/1", "X-Request-Id": "id-of-envoy"}
    registration = await client.register()
    tokens = await client.tokens(registration.client_id)
    refreshed = await client.refresh(registration.client_id, tokens["refresh_token"])
    assert refreshed.status_code == 200
    wait_for(audit_dir, "token.refreshed", client_id=registration.client_id)
    events = [
        event for event in recorded(audit_dir, "oauth_web") if event.get("client_id") == registration.client_id
    ]
    for kind in ("client.registered", "consent.given", "token.issued", "token.refreshed"):
        assert outcomes(events, kind) == ["intent", "success"], kind
    for event in events:
        assert (event["user_agent"], event["request_id"]) == ("agent/1", "id-of-envoy")
        assert event["policy_version"]
    (issued,) = (event for event in events if (event["event"], event["outcome"]) == ("token.issued", "success"))
    assert (issued["user"], issued["provider"]) == ("octocat", "github")
    assert issued["jti"]


async def test_a_revocation_by_a_client_is_recorded_before_and_after(
    web: WebServer, client: OAuthClient, audit_dir: Path
) -> None:
    client_id = (await client.register()).client_id
    tokens = await client.tokens(client_id)
    for token in ("access_token", "refresh_token"):
        form = {"token": tokens[token], "client_id": client_id}
        assert (await client.http.post(f"{web.issuer}/revoke", data=form)).status_code == 200
    wait_for(audit_dir, "grant.revoked", client_id=client_id)
    events = [event for event in recorded(audit_dir, "oauth_web") if event.get("client_id") == client_id]
    for kind in ("token.revoked", "grant.revoked"):
        assert outcomes(events, kind) == ["intent", "success"], kind
    sessions = outcomes(recorded(audit_dir, "oauth_web"), "session.started")
    assert sessions[:2] == ["intent", "success"]


async def test_the_record_contains_no_secret(web: WebServer, client: OAuthClient, audit_dir: Path) -> None:
    registration = await client.register(token_endpoint_auth_method="client_secret_post")
    pkce = Pkce.fresh()
    code = await client.code(registration.client_id, pkce)
    secret = {"client_secret": registration.secret}
    tokens = (await client.redeem(registration.client_id, code, pkce.verifier, **secret)).json()
    refreshed = (await client.refresh(registration.client_id, tokens["refresh_token"], **secret)).json()
    # A used code, a wrong secret and an old refresh token are refused, and are not in the record either.
    await client.redeem(registration.client_id, code, pkce.verifier, **secret)
    await client.redeem(registration.client_id, "wrong-code", pkce.verifier, client_secret="wrong-secret")
    await client.http.put(
        f"{web.issuer}/register/{registration.client_id}", json={}, headers={"Authorization": "Bearer wrong-token"}
    )
    made, _ = operate(web, "clients", "create", "--name", "robot", "--scope", "mcp.time", "--json")
    invited, _ = operate(web, "clients", "invite", "--json")
    operate(web, "tokens", "revoke", json.loads(invited)["token_id"], expect=1)
    wait_for(audit_dir, "client.management_refused")
    text = json.dumps(recorded(audit_dir))
    assert registration.client_id in text
    secrets = [
        code,
        pkce.verifier,
        registration.secret,
        registration.document["registration_access_token"],
        *(document[name] for document in (tokens, refreshed) for name in ("access_token", "refresh_token")),
        json.loads(made)["client_secret"],
        json.loads(invited)["initial_access_token"],
        *("wrong-code", "wrong-secret", "wrong-token"),
        *(web.environment[name] for name in ("MASTER_KEY", "GITHUB_CLIENT_SECRET", "REDIS_PASSWORD")),
        *(cookie.value for cookie in client.http.cookies.jar if cookie.value),
    ]
    for secret_text in secrets:
        assert secret_text not in text


def events_of(web: WebServer, audit_dir: Path, *arguments: str, expect: int = 0) -> list[dict[str, Any]]:
    """The events of one command, in their order."""
    before = {boot.name for boot in boots_of(audit_dir, "command")}
    operate(web, *arguments, expect=expect)
    fresh = [boot for boot in boots_of(audit_dir, "command") if boot.name not in before]
    assert all(is_closed(boot) for boot in fresh)
    return [event for boot in fresh for event in events_in(boot)]


async def test_commands_are_recorded_before_and_after_with_the_account_that_ran_them(
    web: WebServer, client: OAuthClient, audit_dir: Path
) -> None:
    client_id = (await client.register()).client_id
    await client.tokens(client_id)
    number = json.loads(operate(web, "users", "show", "octocat", "--json")[0])["id"]
    for kind, *arguments in (
        ("client.registered", "clients", "create", "--name", "robot", "--scope", "mcp.time"),
        ("initial_access_token.issued", "clients", "invite"),
        ("client.permissions_changed", "clients", "permissions", client_id, "--no-permissions"),
        ("user.blocked", "users", "block", "octocat", "--reason", "a lost laptop"),
        ("user.unblocked", "users", "unblock", "octocat"),
        ("user.revoked", "users", "revoke", "octocat"),
        ("login.accepted", "users", "accept", f"octocat#{number}"),
        ("client.revoked", "clients", "revoke", client_id),
        ("client.disabled", "clients", "disable", client_id),
        ("client.enabled", "clients", "enable", client_id),
        ("client.deleted", "clients", "delete", client_id),
        ("service.disabled", "services", "disable", "notes"),
        ("service.enabled", "services", "enable", "notes"),
        ("sign_ins.paused", "pause"),
        ("sign_ins.resumed", "resume"),
        ("key.created", "keys", "rotate"),
        ("everybody.revoked", "tokens", "revoke", "--all", "--yes"),
    ):
        events = events_of(web, audit_dir, *arguments)
        assert outcomes(events, kind) == ["intent", "success"], kind
        assert events[0]["event"] == kind
        assert {event["operator"] for event in events} == {pwd.getpwuid(os.getuid()).pw_name}
        if kind == "user.blocked":
            assert events[0]["reason"].endswith("users block octocat: a lost laptop")
            assert set(outcomes(events, "grant.revoked")) == {"success"}
    events = events_of(web, audit_dir, "users", "unblock", "octocat", expect=1)
    assert outcomes(events, "user.unblocked") == ["intent", "failure"]
    assert events_of(web, audit_dir, "users", "list") == []


async def test_on_a_full_disk_access_can_be_revoked_but_not_granted(
    web: WebServer, client: OAuthClient, audit_dir: Path, disk: Path
) -> None:
    registration = await client.register()
    tokens = await client.tokens(registration.client_id)
    disabled = (await client.register(client_name="Disabled on a full disk")).client_id
    operate(web, "users", "list")
    operate(web, "clients", "invite")  # makes the reserve of commands
    revocable = {"token": tokens["refresh_token"], "client_id": registration.client_id}
    form = {"grant_type": "refresh_token", "client_id": registration.client_id, "refresh_token": "made-up"}
    filler = fill(disk)

    def ask() -> httpx2.Response:
        return httpx2.post(f"{web.issuer}/token", data=form)

    until(lambda: ask().status_code == 503, "the writer finds that there is no room")
    assert ask().json()["error"] == "temporarily_unavailable"
    for path in ("/authorize", "/device"):
        assert (await client.http.get(f"{web.issuer}{path}")).status_code == 503
    assert (await client.http.post(f"{web.issuer}/register", json={})).status_code == 503
    assert (await client.http.post(f"{web.issuer}/revoke", data=revocable)).status_code == 200
    deleted = await client.http.delete(
        f"{web.issuer}/register/{registration.client_id}", headers=registration.management
    )
    assert deleted.status_code == 204
    operate(web, "users", "block", "octocat")
    operate(web, "clients", "disable", disabled)
    filler.unlink()

    until(lambda: ask().status_code != 503, "the writer finds that there is room")
    operate(web, "users", "unblock", "octocat")
    form["client_id"] = disabled
    assert ask().json()["error"] == "unauthorized_client"
    events = recorded(audit_dir)
    # The reserved room is for these.
    for kind in ("grant.revoked", "client.deleted", "user.blocked", "client.disabled"):
        assert "success" in outcomes(events, kind), kind


@contextmanager
def missing(web: WebServer, folder: Path) -> Iterator[None]:
    """Another file is in the place of `folder` inside the block. Afterwards the server records again."""
    elsewhere = folder.with_name("elsewhere")
    folder.rename(elsewhere)
    folder.touch()
    try:
        yield
    finally:
        folder.unlink()
        elsewhere.rename(folder)
        until(lambda: httpx2.get(f"{web.issuer}/authorize").status_code != 503, "the server records again")


async def test_without_the_folder_a_command_grants_nothing_but_can_block(
    web: WebServer, client: OAuthClient, audit_dir: Path
) -> None:
    await client.tokens((await client.register()).client_id)
    with missing(web, audit_dir):
        _, told = operate(web, "clients", "invite", expect=1)
        assert "nothing was done, since it cannot be recorded" in told
        _, told = operate(web, "users", "block", "octocat")
        assert "may be missing in the audit record" in told
    operate(web, "users", "unblock", "octocat")


def operate_unheard(web: WebServer, *arguments: str) -> None:
    """Run an operator's command whose standard error is on a full disk. It may fail: its text is its record."""
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        subprocess.run(
            [*PORTCULLIS, *arguments], env=web.environment, stdout=subprocess.DEVNULL, stderr=full, check=False
        )
    finally:
        os.close(full)


async def test_a_command_blocks_a_user_even_if_it_can_neither_record_nor_warn(
    web: WebServer, client: OAuthClient, audit_dir: Path
) -> None:
    await client.tokens((await client.register()).client_id)
    with missing(web, audit_dir):
        operate_unheard(web, "users", "block", "octocat")
        assert json.loads(operate(web, "users", "show", "octocat", "--json")[0])["blocked"]
    operate(web, "users", "unblock", "octocat")


async def test_detection_finds_theft_and_guessing_in_the_record(
    web: WebServer, client: OAuthClient, audit_dir: Path, tmp_path: Path
) -> None:
    registration = await client.register()
    first = await client.tokens(registration.client_id)
    second = (await client.refresh(registration.client_id, first["refresh_token"])).json()
    assert (await client.refresh(registration.client_id, second["refresh_token"])).status_code == 200
    web.let_pass_since_refreshes(first["refresh_token"], 11)
    assert (await client.refresh(registration.client_id, first["refresh_token"])).status_code == 400
    pkce = Pkce.fresh()
    code = await client.code(registration.client_id, pkce)
    for status in (200, 400):
        assert (await client.redeem(registration.client_id, code, pkce.verifier)).status_code == status
    confidential = await client.register(token_endpoint_auth_method="client_secret_post")
    kinds = ("token.refused", "client.authentication_failed")
    earlier = [guesses(audit_dir, kind) for kind in kinds]
    for number in range(10):
        guess = {"client_id": confidential.client_id, "client_secret": f"guess-{number}"}
        assert (await client.token({"grant_type": "client_credentials", **guess})).status_code == 401
        made_up = await client.redeem(registration.client_id, f"made-up-{number}", pkce.verifier)
        assert made_up.status_code == 400
    until(lambda: [guesses(audit_dir, kind) for kind in kinds] == [before + 10 for before in earlier])
    world = SealedWorld(tmp_path)
    shutil.copytree(audit_dir / "segments", world.audit_dir / "segments")
    world.seal()

    printed, _ = operate(web, "audit", "detect", "--audit-dir", str(world.audit_dir), "--json", expect=3)

    findings = [json.loads(line) for line in printed.splitlines()]
    by_rule = {
        (finding["rule"], client_id): finding
        for finding in findings
        for client_id in finding["values"]["client_id"]["shown"]
    }
    for rule in ("refresh_token_reuse", "code_replay"):
        finding = by_rule[rule, registration.client_id]
        assert (finding["level"], finding["sealed"]) == ("high", True)
        assert finding["values"]["user"] == {"shown": ["octocat"], "count": 1}
        shown, _ = operate(
            web, "audit", "show", "--audit-dir", str(world.audit_dir), "--json", finding["first"]["place"]
        )
        assert json.loads(shown)["grant_id"] in finding["values"]["grant_id"]["shown"]
    assert by_rule["secret_guessing", registration.client_id]["metric"] >= 20
