"""Serves the page of Prometheus metrics of a program without an event loop, in a thread beside it."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ext_authz.metrics import page
from ext_authz.net.listen_addresses import ListenError
from oauth_core.errors import SettingsError
from oauth_core.net.listen_addresses import check_metrics_listen
from oauth_core.process.metrics import exposition

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from oauth_core.process.metrics import Family, Figures

PATH = "/metrics"


@contextmanager
def serving(
    address: str, setting: str, families: Mapping[str, Family], figures: Callable[[], Awaitable[Figures]]
) -> Iterator[None]:
    """Answer `GET /metrics` at `address` with `figures` inside the block.

    Raises `SettingsError`, which names `setting`, if it cannot listen there.
    """
    try:
        check_metrics_listen(address)
    except ValueError as error:
        raise SettingsError([f"{setting}: {error}"]) from None

    async def answer(path: str) -> str | None:
        return exposition(families, {"": await figures()}) if path == PATH else None

    listening: Future[None] = Future()
    loop, stopping = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        try:
            async with page.serving(address, answer):
                listening.set_result(None)
                await stopping.wait()
        except Exception as error:
            if listening.done():
                raise
            listening.set_exception(error)

    os.umask(0o077)  # only this user may use a Unix socket
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="metrics", daemon=True)
    thread.start()
    try:
        listening.result()
    except ListenError as error:
        raise SettingsError([f"{setting}: {error}"]) from None
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        loop.close()
