"""One worker of the check service, started by its parent: a fork of a template, or a new interpreter.

The second is `python -m ext_authz.process.worker ADDRESS`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import structlog
import uvloop

from ext_authz.net.listen_addresses import ListenError
from ext_authz.process.parent_connection import NUMBER_VARIABLE, WRITER, ParentConnection
from ext_authz.service.server import check_server
from ext_authz.transports.selection import select_transport
from oauth_core.errors import SettingsError
from oauth_core.process import logs
from oauth_core.process.audit_output import AuditOutput, open_output
from oauth_core.settings import AuthzSettings, load

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def run(arguments: Sequence[str], variables: Mapping[str, str]) -> int:
    """Be a worker in a fork of a template, with these variables in addition to its environment."""
    os.environ.update(variables)
    return main(*arguments)


def main(address: str) -> int:
    """Serve until the parent asks to drain; return the exit code: 0 done, 2 wrong settings or address."""
    os.umask(0o077)  # only this user may use a Unix socket
    # A stop request goes to the parent; a signal to the whole group must not interrupt draining.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        settings = load(AuthzSettings, None, os.environ)
        logs.configure("ext_authz", settings.log_level, file=settings.log_file)
        uvloop.run(_serve(address, settings))
    except SettingsError as error:
        return _refuse(*error.faults)
    except ListenError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"{error.filename or address}: {error.strerror or type(error).__name__}")
    return 0


async def _serve(address: str, settings: AuthzSettings) -> None:
    audit = open_output(settings, f"{WRITER}.{os.environ.get(NUMBER_VARIABLE, '0')}")
    try:
        await _serve_recorded(address, settings, audit)
    finally:
        audit.close()


async def _serve_recorded(address: str, settings: AuthzSettings, audit: AuditOutput) -> None:
    log = structlog.get_logger("server")
    async with check_server(settings, audit, os.environ) as server:
        transport = select_transport(settings, server)
        await transport.start(address, settings)
        parent = ParentConnection.from_environment(os.environ)
        await parent.ready()
        heartbeats = asyncio.create_task(parent.send_heartbeats(server.figures))
        drain = asyncio.create_task(parent.drain_requested())
        try:
            await asyncio.wait((drain, server.failed), return_when=asyncio.FIRST_COMPLETED)
            log.info("server.draining")
            server.health.drain()
            # Until callers have noticed it, they still send checks here; later no worker would answer them.
            notice_seconds = 0.0 if server.failed.done() else server.health.seconds_to_be_heard
            notice_seconds = min(notice_seconds, settings.authz_drain_seconds / 2)
            await asyncio.sleep(notice_seconds)
            await transport.stop(settings.authz_drain_seconds - notice_seconds)
            if server.failed.done():
                await server.failed
        finally:
            for task in (heartbeats, drain):
                task.cancel()
            await asyncio.gather(heartbeats, drain, return_exceptions=True)
            parent.close()
    log.info("server.stopped")


def _refuse(*faults: str) -> int:
    sys.stderr.writelines(f"ext_authz: {fault}\n" for fault in faults)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
