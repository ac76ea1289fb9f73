"""Redis as a cluster: a primary dies, and callers whose tokens it kept wait for its replica."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.availability.load import assert_bounded, loading
from tests.availability.site import PASSWORD, USERS, running_site
from tests.support.redis_groups import running_cluster, until

if TYPE_CHECKING:
    from tests.availability.table import Record


def test_callers_wait_for_the_replica_of_a_primary_that_was_killed(record: Record) -> None:
    with running_cluster(password=PASSWORD, users=USERS) as group, running_site(group, of_each=1) as site:
        old = group.owner_of(0)

        def kill() -> None:
            with old.client() as client:
                until(lambda: client.wait(1, 1000) == 1)
            old.kill()
            until(lambda: group.owner_of(0) is not old)

        with loading(site) as load:
            account = load.during(kill)
    assert_bounded(account, lost_writes=1)
    record.saw("cluster", account)
