"""Automatic responses of detection: `portcullis alerts run` ends real tokens in a real Redis, and reports it."""

from __future__ import annotations

import json
import signal
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from oauth_core.audit import EventKind
from oauth_core.store import keyspace
from portcullis.alerts.responding import FILE_NAME
from portcullis.audit import moments
from tests.support import forks
from tests.support.alerts import AlertWorld, Receiver, ago, receiving, reuse
from tests.support.oauth_client import OAuthClient, Pkce
from tests.support.programs import until
from tests.support.small_disk import fill, small_disk
from tests.support.web_process import WebServer, running_web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    import httpx2


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    """A separate server: these tests end the access of people."""
    with running_web({"ALLOWED_GITHUB_USERS": "*"}) as server:
        yield server


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
async def client(web: WebServer) -> AsyncIterator[OAuthClient]:
    async with OAuthClient(web.issuer) as client:
        yield client


@dataclass
class Guarded:
    """The server of the tests with an audit folder, alerts and responses."""

    web: WebServer
    world: AlertWorld

    def environment(self, **more: str) -> dict[str, str]:
        return {**self.web.environment, "AUDIT_DIR": str(self.world.audit_dir), "AUDIT_TEXT": "false", **more}

    def look(self, expect: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """One run of the program."""
        command = ("alerts", "run", "--once", "--config", str(self.world.config))
        done = forks.run("portcullis", *command, environment=self.environment(**environment))
        assert done.returncode == expect, f"{done.stdout}\n{done.stderr}"
        return done

    def make_due(self) -> None:
        """Let the next attempt of the one response be now."""
        ledger = self.world.root / FILE_NAME
        document = json.loads(ledger.read_text(encoding="utf-8"))
        document["responses"][0]["next"] = 0
        ledger.write_text(json.dumps(document), encoding="utf-8")

    def lives(self, jti: str) -> bool:
        with self.web.redis.client() as redis:
            return bool(redis.exists(keyspace.token(jti)))


@pytest.fixture
def guarded(web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> Guarded:
    monkeypatch.chdir(tmp_path)
    made = Guarded(web, AlertWorld(tmp_path))
    made.world.webhook("hook", receiver.url)
    return made


@dataclass(frozen=True)
class Held:
    """The tokens of a person, and their identifiers."""

    login: str
    user_id: int
    client_id: str
    grant_id: str
    jti: str


async def signed_in(client: OAuthClient, login: str) -> Held:
    registration, pkce = await client.register(), Pkce.fresh()
    came_back = await client.authorize(client.authorize_url(registration.client_id, pkce.challenge), login)
    tokens = (await client.redeem(registration.client_id, came_back["code"], pkce.verifier)).json()
    claims: dict[str, Any] = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    grant_id = tokens["refresh_token"].partition(".")[0]
    return Held(login, int(claims["github_id"]), registration.client_id, grant_id, claims["jti"])


def calls(held: Held, networks: int = 3) -> list[dict[str, object]]:
    """Allowed calls with one token from this number of networks: a finding of `token_many_networks`."""
    return [
        {
            "v": 1,
            "time": ago(0.5 - number / 100),
            "event": str(EventKind.ACCESS_ALLOWED),
            "outcome": "allowed",
            "client_id": held.client_id,
            "user": held.login,
            "user_id": held.user_id,
            "service": "time",
            "jti": held.jti,
            "source": f"203.0.{number}.7",
        }
        for number in range(networks)
    ]


async def test_a_finding_ends_the_grant_and_the_alert_and_the_record_name_the_response(
    guarded: Guarded, client: OAuthClient, receiver: Receiver
) -> None:
    guarded.world.respond("refresh_token_reuse", "revoke_grant")
    held, other = await signed_in(client, "tove"), await signed_in(client, "tove")
    guarded.world.happen(reuse(held.grant_id))
    assert guarded.look().stdout == ""
    assert (guarded.lives(held.jti), guarded.lives(other.jti)) == (False, True)
    [alert] = receiver.received
    assert alert.data["done"] == [f"revoke_grant {held.grant_id}: done"]
    assert f"done automatically:\n  revoke_grant {held.grant_id}: done" in alert.data["text"]
    events = guarded.world.events("grant.revoked")
    assert [(one["operator"], one["outcome"]) for one in events] == [
        ("detection:refresh_token_reuse", "intent"),
        ("detection:refresh_token_reuse", "success"),
    ]
    assert events[1]["grant_id"] == held.grant_id
    assert events[1]["reason"] == "by detection: automatic response to the detection rule refresh_token_reuse"


async def test_further_passes_repeat_no_response_but_a_new_event_causes_one(
    guarded: Guarded, client: OAuthClient
) -> None:
    guarded.world.respond("token_many_networks", "revoke_token")
    held = await signed_in(client, "tove")
    guarded.world.happen(*calls(held))
    for _ in range(3):
        guarded.look()
    assert not guarded.lives(held.jti)
    assert len(guarded.world.events("token.revoked")) == 2, "the intent and the outcome"
    guarded.world.happen(*(one | {"time": ago(0.001)} for one in calls(held)))
    guarded.look()
    assert len(guarded.world.events("token.revoked")) == 4


async def test_a_person_is_blocked_for_a_finding_that_their_valid_token_proves(
    guarded: Guarded, client: OAuthClient, receiver: Receiver
) -> None:
    guarded.world.respond("token_many_networks", "block_person")
    held = await signed_in(client, "blocked-one")
    guarded.world.happen(*calls(held))
    guarded.look()
    assert not guarded.lives(held.jti)
    with guarded.web.redis.client() as redis:
        assert redis.exists(keyspace.block(held.user_id))
    assert receiver.received[0].data["done"] == [f"block_person {held.user_id}: done"]
    assert [one["operator"] for one in guarded.world.events("user.blocked")] == [
        "detection:token_many_networks"
    ] * 2


async def test_a_machine_client_is_disabled_for_a_finding_about_its_own_token(
    guarded: Guarded, client: OAuthClient, receiver: Receiver
) -> None:
    guarded.world.respond("token_many_networks", "disable_client")
    command = ("clients", "create", "--name", "Robot", "--scope", "mcp.time", "--json")
    robot = json.loads(forks.run("portcullis", *command, environment=guarded.web.environment).stdout)
    proof = (robot["client_id"], robot["client_secret"])

    async def asked() -> httpx2.Response:
        return await client.http.post(
            f"{client.issuer}/token", data={"grant_type": "client_credentials"}, auth=proof
        )

    claims = jwt.decode((await asked()).json()["access_token"], options={"verify_signature": False})
    held = Held("", 0, robot["client_id"], "", claims["jti"])
    as_itself = [{name: value for name, value in one.items() if "user" not in name} for one in calls(held)]
    guarded.world.happen(*as_itself)
    guarded.look()
    assert not guarded.lives(held.jti)
    assert (await asked()).json()["error"] == "unauthorized_client"
    assert receiver.received[0].data["done"] == [f"disable_client {held.client_id}: done"]
    assert [one["operator"] for one in guarded.world.events("client.disabled")] == [
        "detection:token_many_networks"
    ] * 2


async def test_an_exempt_person_loses_no_access_even_if_the_finding_names_only_a_grant(
    guarded: Guarded, client: OAuthClient, receiver: Receiver
) -> None:
    guarded.world.configure(detection='never = ["ON-Call"]')
    guarded.world.respond("refresh_token_reuse", "revoke_grant")
    held = await signed_in(client, "on-call")
    guarded.world.happen(reuse(held.grant_id))
    guarded.look()
    assert guarded.lives(held.jti)
    assert receiver.received[0].data["done"] == [
        f"revoke_grant {held.grant_id}: not done: on-call is in detection.never"
    ]
    assert guarded.world.events("grant.revoked") == []


async def test_many_findings_end_only_as_much_as_the_limit_allows(
    guarded: Guarded, client: OAuthClient, receiver: Receiver
) -> None:
    guarded.world.configure(detection="responses_per_hour = 2")
    guarded.world.respond("refresh_token_reuse", "revoke_grant")
    held = [await signed_in(client, f"person-{number}") for number in range(4)]
    guarded.world.happen(*(reuse(one.grant_id) for one in held))
    guarded.look()
    guarded.look()
    assert sum(guarded.lives(one.jti) for one in held) == 2
    done = [one.data["done"][0] for one in receiver.received if one.data["rule"] == "refresh_token_reuse"]
    assert sum(text.endswith(": done") for text in done) == 2
    assert sum("which is the limit; do it by hand" in text for text in done) == 2


async def test_every_response_is_reported_also_beyond_the_alerts_of_its_rule(
    guarded: Guarded, client: OAuthClient, receiver: Receiver
) -> None:
    guarded.world.configure(detection="responses_per_hour = 100")
    guarded.world.respond("refresh_token_reuse", "revoke_grant")
    held = await signed_in(client, "tove")
    guarded.world.happen(*(reuse(f"grant-{number:02}", 0.5) for number in range(20)), reuse(held.grant_id, 0.4))
    guarded.look()
    assert not guarded.lives(held.jti)
    [report] = [one.data for one in receiver.received if one.data["rule"] == "automatic_response"]
    assert report["done"] == [f"revoke_grant {held.grant_id}: done"]


async def test_a_failed_response_is_retried_and_its_end_is_an_alert(
    guarded: Guarded, client: OAuthClient, receiver: Receiver
) -> None:
    guarded.world.respond("refresh_token_reuse", "revoke_grant")
    held = await signed_in(client, "tove")
    guarded.world.happen(reuse(held.grant_id))
    guarded.look(REDIS_URL=f"unix://{guarded.world.root}/no-redis.sock", REDIS_TIMEOUT="1")
    assert guarded.lives(held.jti)
    assert f"revoke_grant {held.grant_id}: failed, and is tried again" in receiver.received[0].data["done"][0]
    guarded.make_due()
    guarded.look()
    assert not guarded.lives(held.jti)
    last = receiver.received[-1].data
    assert (last["rule"], last["done"]) == ("automatic_response", [f"revoke_grant {held.grant_id}: done"])
    guarded.look()
    assert receiver.received[-1].data["id"] == last["id"]


async def test_a_response_that_waits_heeds_the_exempt_people_of_the_present_settings(
    guarded: Guarded, client: OAuthClient, receiver: Receiver
) -> None:
    guarded.world.respond("token_many_networks", "block_person")
    held = await signed_in(client, "exempt-later")
    guarded.world.happen(*calls(held))
    guarded.look(REDIS_URL=f"unix://{guarded.world.root}/no-redis.sock", REDIS_TIMEOUT="1")
    guarded.make_due()
    guarded.world.configure(detection=f'never = ["id:{held.user_id}"]')
    guarded.look()
    assert guarded.lives(held.jti)
    assert receiver.received[-1].data["done"] == [
        f"block_person {held.user_id}: not done: id:{held.user_id} is in detection.never"
    ]


async def test_a_program_that_is_killed_in_the_middle_does_it_after_its_restart(
    guarded: Guarded, client: OAuthClient, receiver: Receiver
) -> None:
    guarded.world.respond("refresh_token_reuse", "revoke_grant")
    held = await signed_in(client, "tove")
    guarded.world.happen(reuse(held.grant_id))
    ledger = guarded.world.root / FILE_NAME
    command = ("alerts", "run", "--config", str(guarded.world.config))
    guarded.web.redis.pause()
    try:
        log = guarded.world.root / "first.log"
        with forks.running("portcullis", *command, environment=guarded.environment(), log=log) as first:
            until(ledger.exists, "the note before the response")
            first.kill()
            assert first.wait(60) == -signal.SIGKILL
    finally:
        guarded.web.redis.resume()
    assert guarded.lives(held.jti)
    guarded.look()
    assert not guarded.lives(held.jti)
    assert [one.data["done"] for one in receiver.received][-1] == [f"revoke_grant {held.grant_id}: done"]


async def test_rights_end_by_themselves_on_a_full_disk(
    web: WebServer, client: OAuthClient, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with small_disk(8) as disk:
        guarded = Guarded(web, AlertWorld(disk))
        guarded.world.webhook("hook", receiver.url)
        guarded.world.configure("interval = 1")
        guarded.world.respond("refresh_token_reuse", "revoke_grant")
        held = await signed_in(client, "tove")
        command = ("alerts", "run", "--config", str(guarded.world.config))
        environment = guarded.environment(TMPDIR=str(tmp_path))
        log = tmp_path / "alerts.log"
        with forks.running("portcullis", *command, environment=environment, log=log):
            until(lambda: guarded.world.listed()["last_look"], "a look")
            # Sealed now, with a time at which the disk is full.
            moment = datetime.now(UTC) + timedelta(seconds=5)
            guarded.world.happen(reuse(held.grant_id) | {"time": moments.recorded(moment)})
            fill(disk)
            until(lambda: not guarded.lives(held.jti), "the end of the grant")


@pytest.mark.parametrize(
    ("rule", "action", "text"),
    [
        ("no_such", "revoke_grant", "there is no such rule"),
        ("client_secret_guessing", "revoke_client", "do not prove client_id"),
        ("refresh_token_reuse", "block_person", "it may have revoke_grant"),
        ("revoked_token_used", "block_person", "it may have revoke_token"),
        ("excessive_requests", "block_person", "it may have no response"),
        ("operator_unusual_hour", "block_person", "it may have no response"),
    ],
)
def test_a_response_that_could_end_the_access_of_another_person_is_refused(
    guarded: Guarded, rule: str, action: str, text: str
) -> None:
    guarded.world.respond(rule, action)
    assert text in guarded.look(expect=2).stderr
    check = ("config", "check", "--offline", "--config", str(guarded.world.config))
    done = forks.run("portcullis", *check, environment=guarded.environment())
    assert done.returncode == 2
    assert text in done.stdout


def test_without_the_rights_of_an_operator_the_program_does_not_start(guarded: Guarded) -> None:
    guarded.world.respond("refresh_token_reuse", "revoke_grant")
    assert "master_key" in guarded.look(expect=2, MASTER_KEY="").stderr


def test_where_nothing_can_be_recorded_the_program_does_not_start(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In containers, the program for alerts has the record of others to read only."""
    monkeypatch.chdir(tmp_path)
    with small_disk(8) as disk:
        guarded = Guarded(web, AlertWorld(disk))
        guarded.world.webhook("hook", "http://127.0.0.1:9/closed")
        guarded.world.configure(f'outbox = "{tmp_path}/alerts.sqlite3"')
        guarded.world.respond("refresh_token_reuse", "revoke_grant")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert f"audit.dir: {guarded.world.audit_dir}: " in guarded.look(expect=2).stderr


def test_a_damaged_note_of_responses_stops_the_program(guarded: Guarded) -> None:
    guarded.world.respond("refresh_token_reuse", "revoke_grant")
    (guarded.world.root / FILE_NAME).write_text("{", encoding="utf-8")
    assert "it is damaged; remove it to begin anew" in guarded.look(expect=2).stderr
