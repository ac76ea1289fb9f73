"""The fast transport from inside: what Envoy's interpreter loads, from start-up to the last drained call."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog

from ext_authz.parent_link import ParentLink
from ext_authz.server import check_server
from ext_authz.transports.pyvoy_host import ADMIN_VARIABLE, DRAIN_SECONDS, STAT_PREFIX
from ext_authz.transports.taskless import TasklessCalls
from oauth_core import logs
from oauth_core.errors import SettingsError
from oauth_core.settings import AuthzSettings, load

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ext_authz.server import CheckServer
    from ext_authz.transports.grpc_asgi import Receive, Scope, Send
    from ext_authz.transports.taskless import Call

_SWITCH_SECONDS = 0.0001
"""How long the event loop may keep the interpreter from the thread that hands it requests; Python's own 5 ms is a
latency that callers would feel."""

_LOOK_AGAIN_SECONDS = 0.02
_LAST_GOODBYE_SECONDS = 0.5
_WRONG_SETTINGS = 2


class Application:
    """The ASGI application. Its lifespan is that of the worker."""

    _asgi_single_callable = True  # by this, servers know that it is no ASGI 2 application, though not `async`

    def __init__(self) -> None:
        self._calls: TasklessCalls | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Call | Coroutine[Any, Any, None]:
        """The work for one scope. Requests come only once start-up is complete."""
        if scope["type"] == "http" and self._calls is not None:
            return self._calls(scope, receive, send)
        if scope["type"] == "lifespan":
            return self._live(receive, send)
        raise ValueError(f"there is nothing here for {scope['type']}")

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            sys.setswitchinterval(_SWITCH_SECONDS)
            settings = load(AuthzSettings, None, os.environ)
            logs.configure("ext_authz", settings.log_level)
            async with check_server(settings, logs.LogAuditSink(), os.environ) as server:
                self._calls = TasklessCalls(server)
                self._calls.prepare(asyncio.get_running_loop())
                await send({"type": "lifespan.startup.complete"})
                await _until_shutdown(server, settings, receive)
        except SettingsError as error:
            sys.stderr.writelines(f"ext_authz: {fault}\n" for fault in error.faults)
            sys.stderr.flush()
            # Envoy could say only that something failed. Nothing is under way here yet.
            os._exit(_WRONG_SETTINGS)
        await send({"type": "lifespan.shutdown.complete"})


async def _until_shutdown(server: CheckServer, settings: AuthzSettings, receive: Receive) -> None:
    """Keep the line to the parent until Envoy says that all is over."""
    link = ParentLink.from_environment(os.environ)
    obeying = asyncio.create_task(_obey(link, server, settings))
    beating = asyncio.create_task(link.beat(server.figures))
    shutdown = asyncio.ensure_future(receive())
    try:
        await asyncio.wait((shutdown, server.failed), return_when=asyncio.FIRST_COMPLETED)
        if not shutdown.done():
            structlog.get_logger("server").error("server.failed", error=str(server.failed.exception()))
            os.kill(os.getpid(), signal.SIGTERM)
            await shutdown
    finally:
        for task in (obeying, beating):
            task.cancel()
        await asyncio.gather(obeying, beating, return_exceptions=True)
        link.close()


async def _obey(link: ParentLink, server: CheckServer, settings: AuthzSettings) -> None:
    """Say when calls are answered; when told to, let no new ones come, wait for the last, and end the process."""
    admin = os.environ[ADMIN_VARIABLE]
    await _until(admin, "listener_manager.workers_started", 1)
    await link.ready()
    await link.told_to_drain()
    log = structlog.get_logger("server")
    log.info("server.draining")
    server.health.drain()
    try:
        async with asyncio.timeout(settings.authz_drain_seconds):
            await _ask(admin, "POST", "/drain_listeners?graceful")
            with suppress(TimeoutError):
                # Every connection in use is sent away with its next answer.
                async with asyncio.timeout(DRAIN_SECONDS + _LAST_GOODBYE_SECONDS):
                    await _until(admin, f"http.{STAT_PREFIX}.downstream_cx_active", 0)
            # What is left was not used for all that time, or waits for an answer.
            await _until(admin, f"http.{STAT_PREFIX}.downstream_rq_active", 0)
    except TimeoutError:
        log.warning("server.drain_timeout")
    log.info("server.stopped")
    os.kill(os.getpid(), signal.SIGTERM)


async def _until(admin: str, name: str, value: int) -> None:
    while await _figure(admin, name) != value:  # noqa: ASYNC110 - Envoy tells when it is asked, and only then
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _figure(admin: str, name: str) -> int | None:
    """One of the Envoy's own statistics; `None` while it has nothing to say."""
    try:
        answer = await _ask(admin, "GET", f"/stats?filter=^{name}$")
    except OSError:
        return None
    for line in answer.decode("utf-8", "replace").splitlines():
        key, _, value = line.partition(": ")
        if key == name:
            return int(value)
    return None


async def _ask(admin: str, method: str, target: str) -> bytes:
    """Whatever Envoy's admin interface answers, head and all."""
    reader, writer = await asyncio.open_unix_connection(admin)
    try:
        writer.write(f"{method} {target} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n".encode())
        return await reader.read()
    finally:
        writer.close()


app = Application()
