"""Lists while the check service ends or hangs: the caller gets an error with the id, and nothing of the list."""

from __future__ import annotations

import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.envoy.listing_gateway import SEEN, TOOLS, ListingGateway, running_listing_gateway
from tests.support.processes import descendants_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.envoy.listing_service import Answering


@pytest.fixture
def gateway() -> Iterator[ListingGateway]:
    """A gateway whose check service a test ends."""
    with running_listing_gateway() as running:
        yield running


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "hung"])
def test_a_check_service_that_stops_in_the_middle_of_a_list_is_an_error(
    gateway: ListingGateway, stop: signal.Signals
) -> None:
    begun = threading.Event()
    text = json.dumps(TOOLS).encode()

    def slowly(one: Answering) -> None:
        one.begin("application/json")
        one.send(text[:-5])
        begun.set()
        assert gateway.service.released.wait(timeout=60)
        one.send(text[-5:])
        one.end()

    assert gateway.ask().json == SEEN
    gateway.service.script = slowly
    with ThreadPoolExecutor(1) as callers:
        waiting = callers.submit(gateway.ask)
        assert begun.wait(timeout=60)
        processes = [gateway.authz.process.pid, *descendants_of(gateway.authz.process.pid)]
        for pid in processes:
            os.kill(pid, stop)
        try:
            gateway.service.released.set()
            answer = waiting.result(timeout=120)
        finally:
            if stop == signal.SIGSTOP:
                for pid in processes:
                    os.kill(pid, signal.SIGCONT)
    assert answer.status == 503
    assert answer.json["id"] == 7
    assert answer.json["error"]["data"]["error"] == "temporarily_unavailable"
    assert answer.headers["retry-after"]
