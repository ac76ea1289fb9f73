"""`portcullis backup` and `restore`: which records are restored, which are not, and files that are refused."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from oauth_core.store import keyspace
from oauth_core.store.maintenance import snapshot
from oauth_core.store.maintenance.schema import VERSION
from tests.service.state.commands import new_key, portcullis
from tests.service.state.kept_records import CLIENT, GRANT, everything, populate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

    from tests.support.redis_server import RedisServer


@pytest.fixture
def redis(server: RedisServer) -> Iterator[Redis]:
    """An empty one."""
    with server.client() as redis:
        redis.flushall()
        yield redis


def test_every_kept_record_is_restored_with_its_expiry(
    server: RedisServer, redis: Redis, environment: dict[str, str], tmp_path: Path
) -> None:
    populate(server)
    redis.set("block:7", '{"github_id":7,"since":1}')
    redis.set("somebody-else", "not ours")
    redis.set(keyspace.SCHEMA, VERSION)
    redis.set(keyspace.token("j" * 22), GRANT.grant_id, ex=500)
    before, ends = everything(redis), {key: redis.pttl(key) for key in redis.scan_iter()}
    told = portcullis(environment, "backup", str(tmp_path / "backup"))
    assert "1 grant, 1 client, 1 block, encrypted with MASTER_KEY" in told
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o600
    assert CLIENT.client_id.encode() not in (tmp_path / "backup").read_bytes()
    redis.flushall()
    portcullis(environment, "restore", str(tmp_path / "backup"))
    after = everything(redis)
    assert after[keyspace.grant(GRANT.grant_id)].pop("restored") == "1"
    del before["somebody-else"], before[keyspace.token("j" * 22)]
    assert after == before
    for key in before:
        assert redis.pttl(key) <= ends[key] or ends[key] == -1
        assert redis.pttl(key) == ends[key] == -1 or redis.pttl(key) > ends[key] - 60_000


def test_records_that_expired_meanwhile_stay_expired(
    server: RedisServer, redis: Redis, environment: dict[str, str], tmp_path: Path
) -> None:
    populate(server)
    redis.pexpire(keyspace.client(CLIENT.client_id), 1)
    redis.pexpire(keyspace.grant(GRANT.grant_id), 3000)
    portcullis(environment, "backup", str(tmp_path / "backup"))
    until = time.monotonic() + 60
    while redis.exists(keyspace.grant(GRANT.grant_id)):
        assert time.monotonic() < until
        time.sleep(0.05)
    redis.flushall()
    portcullis(environment, "restore", str(tmp_path / "backup"))
    assert set(redis.scan_iter()) == {keyspace.SCHEMA}


def test_existing_records_are_replaced_only_with_force_and_blocks_are_kept(
    server: RedisServer, redis: Redis, environment: dict[str, str], tmp_path: Path
) -> None:
    populate(server)
    redis.set(keyspace.SCHEMA, VERSION)
    redis.set("block:7", "as it was")
    portcullis(environment, "backup", str(tmp_path / "backup"))
    redis.set("block:7", "as it is")
    redis.set("block:8", "since then")
    redis.set("client:" + "x" * 22, "since then")
    redis.set("somebody-else", "not ours")
    redis.set(keyspace.token("j" * 22), GRANT.grant_id, ex=500)
    before = everything(redis)
    assert "not empty" in portcullis(environment, "restore", str(tmp_path / "backup"), fails=True)
    assert everything(redis) == before
    portcullis(environment, "restore", "--force", str(tmp_path / "backup"))
    del before["client:" + "x" * 22], before[keyspace.token("j" * 22)]
    assert everything(redis) == before


def test_an_assertion_used_after_the_backup_cannot_be_used_again(
    server: RedisServer, redis: Redis, environment: dict[str, str], tmp_path: Path
) -> None:
    populate(server)
    redis.set(keyspace.assertion("before"), "used", ex=3000)
    portcullis(environment, "backup", str(tmp_path / "backup"))
    redis.set(keyspace.assertion("since"), "used", ex=3000)
    redis.delete(keyspace.assertion("before"))
    portcullis(environment, "restore", "--force", str(tmp_path / "backup"))
    assert redis.exists(keyspace.assertion("before"), keyspace.assertion("since")) == 2


def test_a_person_who_was_renamed_after_the_backup_keeps_the_new_login(
    server: RedisServer, redis: Redis, environment: dict[str, str], tmp_path: Path
) -> None:
    populate(server)
    redis.set(keyspace.SCHEMA, VERSION)
    redis.set(keyspace.user(42), "octocat", ex=3000)
    redis.set(keyspace.user(43), "hubot", ex=3000)
    portcullis(environment, "backup", str(tmp_path / "backup"))
    redis.set(keyspace.user(42), "octocat-two", ex=3000)
    redis.delete(keyspace.user(43))
    portcullis(environment, "restore", "--force", str(tmp_path / "backup"))
    assert redis.mget(keyspace.user(42), keyspace.user(43)) == ["octocat-two", "hubot"]


def test_of_two_cutoffs_the_later_one_is_kept_with_its_expiry(
    server: RedisServer, redis: Redis, environment: dict[str, str], tmp_path: Path
) -> None:
    populate(server)
    later_in_redis, later_in_backup = keyspace.cutoff_of_user(42), keyspace.cutoff_of_user(43)
    redis.set(later_in_redis, 100, ex=10_000)
    redis.set(later_in_backup, 200, ex=90_000)
    portcullis(environment, "backup", str(tmp_path / "backup"))
    redis.set(later_in_redis, 200, ex=90_000)
    redis.set(later_in_backup, 100, ex=10_000)
    portcullis(environment, "restore", "--force", str(tmp_path / "backup"))
    for cutoff in (later_in_redis, later_in_backup):
        assert redis.get(cutoff) == "200"
        assert redis.ttl(cutoff) > 10_000


def test_an_incomplete_or_changed_file_changes_nothing(
    server: RedisServer, redis: Redis, environment: dict[str, str], tmp_path: Path
) -> None:
    populate(server)
    portcullis(environment, "backup", str(tmp_path / "backup"))
    good = (tmp_path / "backup").read_bytes()
    middle = good.index(b"\n") + (len(good) - good.index(b"\n")) // 2
    changed = bytes([good[middle] ^ 1])
    bad = {
        "cut off": good[:-1],
        "cut off in its middle": good[:middle],
        "changed": good[:middle] + changed + good[middle + 1 :],
        "header changed": good.replace(b"localhost", b"localhosT", 1),
        "longer": good + b"\0",
        "empty": b"",
        "something else": b"hello\n",
    }
    redis.flushall()
    for name, content in bad.items():
        (tmp_path / "bad").write_bytes(content)
        told = portcullis(environment, "restore", str(tmp_path / "bad"), fails=True)
        assert "Traceback" not in told, name
        assert set(redis.scan_iter()) == set(), name


def test_a_backup_does_not_open_with_another_key_and_the_error_says_why(
    server: RedisServer, redis: Redis, environment: dict[str, str], tmp_path: Path
) -> None:
    populate(server)
    with_key = {**environment, "BACKUP_KEY": new_key()}
    portcullis(with_key, "backup", str(tmp_path / "backup"))
    redis.flushall()
    for wrong in (environment, {**environment, "BACKUP_KEY": new_key()}):
        told = portcullis(wrong, "restore", str(tmp_path / "backup"), fails=True)
        assert "written with BACKUP_KEY" in told
        assert set(redis.scan_iter()) == set()
    portcullis(with_key, "restore", str(tmp_path / "backup"))
    assert redis.exists(keyspace.client(CLIENT.client_id))


def test_a_redis_that_is_too_small_for_the_backup_is_not_changed(
    server: RedisServer, redis: Redis, environment: dict[str, str], tmp_path: Path
) -> None:
    populate(server)
    portcullis(environment, "backup", str(tmp_path / "backup"))
    before = everything(redis)
    redis.config_set("maxmemory", 100)
    try:
        told = portcullis(environment, "restore", "--force", str(tmp_path / "backup"), fails=True)
    finally:
        redis.config_set("maxmemory", 0)
    assert "maxmemory" in told
    assert everything(redis) == before, "and sign-ins are not paused"


def test_a_failed_backup_keeps_the_previous_file(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "backup").write_text("yesterday's")
    nowhere = {**environment, "REDIS_URL": f"unix://{tmp_path}/nowhere"}
    assert "Traceback" not in portcullis(nowhere, "backup", str(tmp_path / "backup"), fails=True)
    assert (tmp_path / "backup").read_text() == "yesterday's"
    assert {path.name for path in tmp_path.iterdir()} == {"backup", "portcullis.toml"}


def test_many_records_go_through_a_pipe(server: RedisServer, redis: Redis, environment: dict[str, str]) -> None:
    populate(server)
    with redis.pipeline(transaction=False) as pipeline:
        for number in range(5000):
            pipeline.set(f"user:{number}", "x" * 500, ex=1000)
        pipeline.execute()
    command = [sys.executable, "-m", "portcullis"]
    written = subprocess.run([*command, "backup", "-"], env=environment, capture_output=True, check=True)
    redis.flushall()
    subprocess.run(
        [*command, "restore", "-"], env=environment, input=written.stdout, capture_output=True, check=False
    )
    assert len(list(redis.scan_iter("user:*"))) == 5000


def test_every_family_of_keys_is_kept_or_left_out_for_a_reason() -> None:
    rows = [line for line in (keyspace.__doc__ or "").splitlines() if line.startswith("| `")]
    families = {snapshot.family(row.split("`")[1]) for row in rows}
    known = (set(snapshot.KEPT), snapshot.FOUND_AGAIN, snapshot.SHORT_LIVED, {keyspace.SCHEMA, keyspace.PAUSED})
    assert families - set().union(*known) == set()
    assert sum(len(group) for group in known) == len(set().union(*known)), "each in one place only"
    assert snapshot.KEPT.keys() >= snapshot.ADD_ONLY_FAMILIES
