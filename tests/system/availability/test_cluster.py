"""Redis as a cluster: one primary after the other is killed, and callers with tokens there wait for
its replica.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.redis_groups import ClusterGroup, running_cluster, until
from tests.system.availability.load import assert_bounded, loading
from tests.system.availability.site import PASSWORD, USERS, running_site

if TYPE_CHECKING:
    from tests.support.redis_server import RedisServer
    from tests.system.availability.table import Record

EVENTS = {"cluster-1": 0, "cluster-2": 8191, "cluster-3": 16383}
"""The rows, and a slot of the primary that is killed in each."""


def test_callers_wait_for_the_replica_of_any_killed_primary(record: Record) -> None:
    with (
        running_cluster(password=PASSWORD, users=USERS, count=6) as group,
        running_site(group, of_each=1) as site,
        loading(site, events=len(EVENTS)) as load,
    ):
        for event, slot in EVENTS.items():
            old = group.owner_of(slot)

            def kill(old: RedisServer = old, slot: int = slot) -> None:
                with old.client() as client:
                    until(lambda: client.wait(1, 1000) == 1)
                old.kill()
                until(lambda: group.owner_of(slot) is not old)

            account = load.during(kill)
            assert_bounded(account, lost_writes=1)
            record.saw(event, account)
            _bring_back(group, old)


def _bring_back(group: ClusterGroup, server: RedisServer) -> None:
    """Start the killed server. Return when it follows the one that replaced it."""
    server.start()

    def follows() -> bool:
        with server.client() as client:
            role = client.execute_command("ROLE")
        return bool(role[0] == "slave" and role[3] == "connected")

    until(follows)
    until(group.is_well)
