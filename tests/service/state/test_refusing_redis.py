"""Revocation in a Redis that refuses writes: because memory, disk or replicas are missing."""

from __future__ import annotations

import json
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from redis.exceptions import ResponseError

from oauth_core.store import keyspace
from portcullis.supervisor import reserve
from tests.support import forks
from tests.support.assertions import as_form, jwks, key, signed
from tests.support.authz_process import publish, remember, running_authz
from tests.support.check_messages import check_request, read_answer
from tests.support.master_key import age_documents
from tests.support.oauth_client import REDIRECT_URI, OAuthClient, Pkce, form_value
from tests.support.publisher import Publisher, running_publisher
from tests.support.redis_groups import until
from tests.support.redis_server import RedisServer, running_redis
from tests.support.small_disk import fill, small_disk
from tests.support.tokens import mint, new_key
from tests.support.web_process import WebServer, running_web

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Callable, Iterator

    from redis import Redis

_BOUND = 5
"""Seconds: longer than a check service has to wait for the processor on a busy machine."""


@pytest.fixture(scope="module")
def publisher() -> Iterator[Publisher]:
    with running_publisher() as publisher:
        yield publisher


@pytest.fixture(scope="module")
def web(publisher: Publisher) -> Iterator[WebServer]:
    documents = {
        "CLIENT_DOCUMENTS_CA_FILE": str(publisher.ca_file),
        "ALLOW_LOOPBACK_CLIENT_DOCUMENTS": "true",
    }
    with running_web(documents) as server:
        yield server


@pytest.fixture
async def client(web: WebServer) -> AsyncIterator[OAuthClient]:
    with web.redis.client() as redis:
        redis.config_set("maxmemory", 0)
        if cutoffs := redis.keys("cut:*"):  # a grant within the second of a revocation is revoked too
            redis.delete(*cutoffs)
    async with OAuthClient(web.issuer) as client:
        yield client


@contextmanager
def full(web: WebServer) -> Iterator[Redis]:
    """Redis has no memory left, as after an attacker's thousand registrations."""
    with web.redis.client() as redis:
        memory: Any = redis.info("memory")
        redis.config_set("maxmemory", memory["used_memory"] // 2)
        with pytest.raises(ResponseError, match="maxmemory"):
            redis.set("one-more", "record")
        try:
            yield redis
        finally:
            redis.config_set("maxmemory", 0)


def operate(
    web: WebServer, *arguments: str, given: str = "", fails: bool = False
) -> subprocess.CompletedProcess[str]:
    done = forks.run("portcullis", *arguments, environment=web.environment, given=given)
    assert (done.returncode == 1) is fails, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def lives(redis: Redis, tokens: dict[str, Any]) -> bool:
    jti = jwt.decode(tokens["access_token"], options={"verify_signature": False})["jti"]
    return bool(redis.exists(keyspace.token(jti)))


COMMANDS: dict[str, Callable[[str, dict[str, Any]], list[str]]] = {
    "users block": lambda _client, _tokens: ["users", "block", "octocat", "--reason", "stolen laptop"],
    "users revoke": lambda _client, _tokens: ["users", "revoke", "octocat"],
    "clients revoke": lambda client, _tokens: ["clients", "revoke", client],
    "clients disable": lambda client, _tokens: ["clients", "disable", client],
    "clients delete": lambda client, _tokens: ["clients", "delete", client],
    "grants revoke": lambda _client, tokens: ["grants", "revoke", tokens["refresh_token"].partition(".")[0]],
    "tokens revoke": lambda _client, _tokens: ["tokens", "revoke", "-"],
    "tokens revoke --all": lambda _client, _tokens: ["tokens", "revoke", "--all", "--yes"],
}


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_stolen_token_can_be_revoked_in_a_full_redis(
    web: WebServer, client: OAuthClient, command: str
) -> None:
    client_id = (await client.register()).client_id
    tokens = await client.tokens(client_id)
    with full(web) as redis:
        assert lives(redis, tokens)
        operate(web, *COMMANDS[command](client_id, tokens), given=tokens["access_token"])
        assert not lives(redis, tokens)
        redis.delete(*redis.keys("block:*"), "no-key")
    refreshed = await client.refresh(client_id, tokens["refresh_token"])
    assert refreshed.is_success is (command == "tokens revoke"), "this command ends one access token only"


async def test_a_pending_code_is_void_after_a_block_in_a_full_redis(web: WebServer, client: OAuthClient) -> None:
    client_id, pkce = (await client.register()).client_id, Pkce.fresh()
    code = await client.code(client_id, pkce)
    with full(web):
        operate(web, "users", "revoke", "octocat")
    assert (await client.redeem(client_id, code, pkce.verifier)).status_code == 400


async def test_services_are_disabled_and_keys_retired_in_a_full_redis(web: WebServer, client: OAuthClient) -> None:
    client_id = (await client.register()).client_id
    tokens = await client.tokens(client_id)
    leaked = jwt.get_unverified_header(tokens["access_token"])["kid"]
    with full(web) as redis:
        operate(web, "services", "isolate", "time", "--reason", "Being repaired.")
        assert "Being repaired." in str(redis.get(keyspace.DISABLED_SERVICES))
        operate(web, "services", "restore", "time")
        operate(web, "keys", "rotate")
        operate(web, "keys", "retire", leaked, "--force")
        left = json.loads(operate(web, "keys", "list", "--json").stdout)
    assert len(left) == 1
    assert left[0]["kid"] != leaked


async def test_sign_ins_are_paused_in_a_full_redis(web: WebServer) -> None:
    with full(web) as redis:
        operate(web, "pause", "--reason", "Under attack.")
        operate(web, "pause")
        assert redis.get(keyspace.PAUSED) == "Under attack.", "a second pause keeps the reason of the first"
        operate(web, "pause", "--reason", "Nearly done.")
        assert redis.get(keyspace.PAUSED) == "Nearly done."
        operate(web, "resume")
        assert redis.get(keyspace.PAUSED) is None


@pytest.mark.parametrize("chosen", [["--no-permissions"], ["--permission", "registration.read"]])
async def test_the_permissions_of_a_registration_token_can_be_reduced_in_a_full_redis(
    web: WebServer, client: OAuthClient, chosen: list[str]
) -> None:
    registration = await client.register()
    address = f"{client.issuer}/register/{registration.client_id}"
    with full(web) as redis:
        before = redis.ttl(keyspace.client(registration.client_id))
        operate(web, "clients", "permissions", registration.client_id, *chosen)
        assert 0 < redis.ttl(keyspace.client(registration.client_id)) <= before
        answer = await client.http.delete(address, headers=registration.management)
        assert answer.status_code == 403, answer.text


async def test_a_second_deletion_writes_the_tombstone_that_the_first_could_not(
    web: WebServer, client: OAuthClient
) -> None:
    client_id = (await client.register()).client_id
    operate(web, "clients", "delete", client_id)
    invited = json.loads(operate(web, "clients", "invite", "--json").stdout)["token_id"]
    operate(web, "clients", "revoke-invite", invited)
    with web.redis.client() as redis:
        notes = keyspace.ended_client(client_id), keyspace.ended_invite(invited)
        assert redis.delete(*notes) == 2
        for command, name in (("delete", client_id), ("revoke-invite", invited)):
            again = operate(web, "clients", command, name, fails=True)
            assert "is complete" in again.stderr
        assert redis.exists(*notes) == 2


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
async def test_a_client_can_revoke_a_token_in_a_full_redis(web: WebServer, client: OAuthClient, kind: str) -> None:
    client_id = (await client.register()).client_id
    tokens = await client.tokens(client_id)
    with full(web) as redis:
        form = {"client_id": client_id, "token": tokens[kind]}
        answer = await client.http.post(f"{client.issuer}/revoke", data=form)
        assert answer.status_code == 200, answer.text
        assert not lives(redis, tokens)


@pytest.mark.parametrize("stale", ["its document", "its keys"])
async def test_a_client_with_a_stale_document_copy_can_revoke_a_token_in_a_full_redis(
    web: WebServer, client: OAuthClient, publisher: Publisher, stale: str
) -> None:
    def proof() -> dict[str, str]:
        return {} if stale == "its document" else as_form(signed(client_id, client.issuer))

    if stale == "its document":
        client_id = publisher.client("/app/full.json")
    else:
        uri = publisher.put("/app/full-keys.json", jwks(key()))
        given = await client.register(token_endpoint_auth_method="private_key_jwt", jwks_uri=uri)
        client_id = given.client_id
    pkce = Pkce.fresh()
    code = {"code": await client.code(client_id, pkce), "code_verifier": pkce.verifier}
    form = {"grant_type": "authorization_code", "redirect_uri": REDIRECT_URI, "client_id": client_id}
    tokens = (await client.token({**form, **code, **proof()})).json()
    with web.redis.client() as redis:
        age_documents(redis, int(time.time()) - 3600)
    with full(web) as redis:
        form = {"client_id": client_id, "token": tokens["refresh_token"], **proof()}
        answer = await client.http.post(f"{client.issuer}/revoke", data=form)
        assert answer.status_code == 200, answer.text
        assert not lives(redis, tokens)


async def test_a_registration_is_deleted_with_its_grants_in_a_full_redis(
    web: WebServer, client: OAuthClient
) -> None:
    registration = await client.register()
    tokens = await client.tokens(registration.client_id)
    address = f"{client.issuer}/register/{registration.client_id}"
    with full(web) as redis:
        answer = await client.http.delete(address, headers=registration.management)
        assert answer.status_code == 204, answer.text
        assert not lives(redis, tokens)


@pytest.mark.parametrize("action", ["disconnect", "disconnect-all", "sign-out-everywhere"])
async def test_a_person_can_disconnect_an_app_in_a_full_redis(
    web: WebServer, client: OAuthClient, action: str
) -> None:
    tokens = await client.tokens((await client.register()).client_id)
    page = (await client.http.get(f"{client.issuer}/account")).text
    with full(web) as redis:
        form = {"form_token": form_value(page, "form_token"), "grant": tokens["refresh_token"].partition(".")[0]}
        done = await client.http.post(f"{client.issuer}/account/{action}", data=form)
        assert done.status_code == 303, done.text
        assert not lives(redis, tokens)


async def test_a_token_is_revoked_despite_too_few_replicas_and_the_rule_is_restored_afterwards(
    web: WebServer, client: OAuthClient
) -> None:
    tokens = await client.tokens((await client.register()).client_id)
    with web.redis.client() as redis:
        redis.config_set("min-replicas-to-write", 1)
        try:
            with pytest.raises(ResponseError, match="NOREPLICAS"):
                redis.delete("anything")
            done = operate(web, "users", "revoke", "octocat")
            assert "fewer replicas" in done.stderr
            assert not lives(redis, tokens)
            assert redis.config_get("min-replicas-to-write") == {"min-replicas-to-write": "1"}
        finally:
            redis.config_set("min-replicas-to-write", 0)


async def test_with_too_few_replicas_a_client_and_a_person_read_that_nothing_ended(
    web: WebServer, client: OAuthClient
) -> None:
    client_id = (await client.register()).client_id
    tokens = await client.tokens(client_id)
    page = (await client.http.get(f"{client.issuer}/account")).text
    form = {"form_token": form_value(page, "form_token"), "grant": tokens["refresh_token"].partition(".")[0]}
    given = {"client_id": client_id, "token": tokens["refresh_token"]}
    with web.redis.client() as redis:
        redis.config_set("min-replicas-to-write", 1)
        try:
            refused = await client.http.post(f"{client.issuer}/revoke", data=given)
            shown = await client.http.post(f"{client.issuer}/account/disconnect", data=form)
        finally:
            redis.config_set("min-replicas-to-write", 0)
        assert lives(redis, tokens)
    for answer in (refused, shown):
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
    assert refused.json()["error"] == "temporarily_unavailable"
    assert refused.json()["error_description"].startswith("this was not ended and may still work")
    assert "try again in a moment" in shown.text
    again = await client.http.post(f"{client.issuer}/revoke", data=given)
    assert again.status_code == 200


async def test_a_redis_user_without_config_rights_gets_instructions(web: WebServer, client: OAuthClient) -> None:
    tokens = await client.tokens((await client.register()).client_id)
    with web.redis.client() as redis:
        redis.acl_setuser(
            "weak", enabled=True, passwords=["+weak"], categories=["+@all"], commands=["-config"], keys=["*"]
        )
        redis.config_set("min-replicas-to-write", 1)
        weak = {**web.environment, "REDIS_URL": web.redis.url(user="weak"), "REDIS_PASSWORD": "weak"}
        try:
            done = forks.run("portcullis", "users", "revoke", "octocat", environment=weak)
        finally:
            redis.config_set("min-replicas-to-write", 0)
        assert done.returncode == 1
        assert "redis-cli CONFIG SET min-replicas-to-write 0" in done.stderr
        assert "nothing was ended" in done.stderr
        assert lives(redis, tokens)


def fill_until_refused(disk: Path, redis: Redis) -> Path:
    """Fill the disk. Return the file that fills it, once Redis refuses writes."""
    filler = fill(disk)

    def refuses() -> bool:
        try:
            redis.set("some-key", "x" * 5000)
        except ResponseError as error:
            return str(error).startswith("MISCONF")
        return False

    until(refuses)
    return filler


@pytest.fixture
def on_small_disk() -> Iterator[tuple[RedisServer, Path]]:
    """A Redis that writes every change to a small disk."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="redis-")))
        disk = stack.enter_context(small_disk(2))
        lines = (f"dir {disk}", "appendonly yes", "appendfsync everysec")
        server = RedisServer(folder, password=None, users={}, lines=lines)
        stack.callback(server.kill)
        server.start()
        yield server, disk


def with_a_token(server: RedisServer) -> str:
    jti = "j" * 22
    with server.client() as redis:
        redis.set(keyspace.SCHEMA, 1)
        redis.set(keyspace.token(jti), "g" * 22, ex=600)
    return jti


def test_a_token_is_revoked_on_a_full_disk_with_a_warning_about_durability(
    web: WebServer, on_small_disk: tuple[RedisServer, Path]
) -> None:
    server, disk = on_small_disk
    jti = with_a_token(server)
    there = {**web.environment, "REDIS_URL": server.url(), "REDIS_PASSWORD": ""}
    with server.client() as redis:
        fill_until_refused(disk, redis)
        done = forks.run("portcullis", "tokens", "revoke", jti, environment=there)
        assert done.returncode == 0, done.stderr
        assert "cannot write to its disk" in done.stderr
        assert redis.exists(keyspace.token(jti)) == 0
        assert redis.config_get("appendonly") == {"appendonly": "yes"}


def test_with_a_disk_reserve_a_revocation_on_a_full_disk_survives_a_restart(
    web: WebServer, on_small_disk: tuple[RedisServer, Path]
) -> None:
    server, disk = on_small_disk
    jti = with_a_token(server)
    (disk / reserve.NAME).write_bytes(bytes(100_000))
    there = {**web.environment, "REDIS_URL": server.url(), "REDIS_PASSWORD": ""}
    with server.client() as redis:
        filler = fill_until_refused(disk, redis)
        done = forks.run("portcullis", "tokens", "revoke", jti, environment=there)
        assert done.returncode == 0, done.stderr
        assert "warning" not in done.stderr
        until(lambda: redis.info("persistence")["aof_last_write_status"] == "ok")
    server.kill()
    filler.unlink()
    server.start()
    with server.client() as redis:
        assert redis.exists(keyspace.token(jti)) == 0


def test_calls_continue_on_a_full_disk_and_revoked_tokens_are_refused(
    on_small_disk: tuple[RedisServer, Path],
) -> None:
    server, disk = on_small_disk
    key = new_key()
    publish(server, key)
    for jti in ("kept", "stolen"):
        remember(server, jti)
    variables = {"REDIS_URL": server.url(), "REVOCATION_BOUND": str(_BOUND)}
    with running_authz(variables) as authz, server.client() as redis:
        authz.wait_for_health("SERVING")
        kept, stolen = mint(key, jti="kept"), mint(key, jti="stolen")

        def status(token: str) -> int:
            return read_answer(authz.check(check_request(token=token))).status

        assert (status(kept), status(stolen)) == (200, 200)
        fill_until_refused(disk, redis)
        bound_is_over = time.monotonic() + _BOUND + 1
        while time.monotonic() < bound_is_over:
            assert status(kept) == 200
        redis.config_set("appendonly", "no")
        redis.delete(keyspace.token("stolen"))
        until(lambda: status(stolen) == 401)
        assert status(kept) == 200


def test_calls_continue_in_a_full_redis_and_revoked_tokens_are_refused() -> None:
    key = new_key()
    with running_redis() as server, server.client() as redis:
        publish(server, key)
        for jti in ("kept", "stolen"):
            remember(server, jti)
        memory: Any = redis.info("memory")
        redis.config_set("maxmemory", memory["used_memory"] // 2)
        with running_authz({"REDIS_URL": server.url()}) as authz:
            authz.wait_for_health("SERVING")
            kept, stolen = mint(key, jti="kept"), mint(key, jti="stolen")

            def status(token: str) -> int:
                return read_answer(authz.check(check_request(token=token))).status

            assert (status(kept), status(stolen)) == (200, 200)
            redis.delete(keyspace.token("stolen"))
            until(lambda: status(stolen) == 401)
            assert status(kept) == 200
