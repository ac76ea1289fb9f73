"""The program of the authorization server: it serves with Hypercorn until a signal stops it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import structlog
from hypercorn.asyncio import serve
from hypercorn.config import Config

from oauth_core.errors import SettingsError, StoreUnavailableError
from oauth_core.process import certificate_ends, logs, standard_streams
from oauth_core.process.audit_output import AuditOutput, open_output
from oauth_core.process.settings_watcher import SettingsWatcher
from oauth_core.settings import TlsSettings, WebSettings, load, outdated_names
from oauth_core.store.maintenance.schema import SchemaError
from oauth_core.store.records.key_ring import KeyRingError
from oauth_web.app import create_app
from oauth_web.endpoints import metrics
from oauth_web.grants.catalog import GRANT_TYPES
from oauth_web.runtime.deps import WRITER, Deps, wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from oauth_core.process.metrics import Figures

_RETRY_SECONDS = 0.5
_log = structlog.get_logger("oauth_web")


async def _serve(settings: WebSettings) -> None:
    stopping, at_once = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        (at_once if stopping.is_set() else stopping).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    output = open_output(settings, WRITER)
    try:
        deps = await _wire_patiently(settings, stopping, output)
    except BaseException:
        output.close()
        raise
    if deps is None:
        output.close()
        return
    # The RBAC policy is read again when the file changes, or on SIGHUP.
    policy_file = SettingsWatcher(WebSettings, os.environ, settings, deps.audit)
    loop.add_signal_handler(signal.SIGHUP, policy_file.reload_now)
    following = asyncio.create_task(policy_file.follow(deps.policy.use))
    config = _config(settings.web_listen)
    # A request to GitHub takes longest, and requests that have begun are finished.
    config.graceful_timeout = settings.github_timeout + 2
    config.h11_max_incomplete_size = 64 * 1024
    _log.info("serving", listen=settings.web_listen, issuer=settings.issuer)
    try:
        async with _metrics(settings, deps):
            await serve(
                create_app(deps),
                config,
                shutdown_trigger=partial(deps.shutdown.wait_until_stop, stopping, at_once),
            )
    finally:
        following.cancel()


def _config(listen: str) -> Config:
    """The Hypercorn configuration to serve at `listen`."""
    config = Config()
    config.bind = [listen]
    config.umask = 0o177  # a Unix socket is for this user alone
    config.include_server_header = False
    config.errorlog = logging.getLogger("hypercorn.error")
    return config


@asynccontextmanager
async def _metrics(settings: WebSettings, deps: Deps) -> AsyncIterator[None]:
    """Serve the metrics inside the block, if the settings ask for it."""
    if settings.web_metrics_listen is None:
        yield
        return
    app, over = metrics.create_app(deps, _certificates()), asyncio.Event()
    serving = asyncio.create_task(serve(app, _config(settings.web_metrics_listen), shutdown_trigger=over.wait))
    try:
        yield
    finally:
        over.set()
        await serving


def _certificates() -> Callable[[], Figures]:
    """Return a function that reads when the gateway's certificates end, if this program can read their files."""
    try:
        tls = load(TlsSettings, None, os.environ)
    except SettingsError:  # the programs that use TLS report it
        return dict
    chains, authorities = {"tls.cert": tls.tls_cert}, {"tls.client_ca": tls.tls_client_ca}
    return partial(certificate_ends.figures, chains, authorities)


async def _wire_patiently(settings: WebSettings, stopping: asyncio.Event, output: AuditOutput) -> Deps | None:
    """Wait for Redis without a time limit: all programs may be starting at the same time."""
    while not stopping.is_set():
        try:
            return await wire(settings, GRANT_TYPES, output)
        except StoreUnavailableError as error:
            _log.warning("waiting for Redis", error=str(error))
        try:
            async with asyncio.timeout(_RETRY_SECONDS):
                await stopping.wait()
        except TimeoutError:
            continue
    return None


def main() -> None:
    """Read the settings and serve. Exits with 2 when they cannot be used, with one line for each fault."""
    standard_streams.open_closed_ones()
    try:
        settings = load(WebSettings, None, os.environ)
        logs.configure("oauth_web", settings.log_level, file=settings.log_file)
        for line in outdated_names(None, os.environ):
            _log.warning("settings.old_name", setting=line)
        asyncio.run(_serve(settings))
    except SettingsError as error:
        for fault in error.faults:
            sys.stderr.write(f"oauth_web: {fault}\n")
        sys.exit(2)
    except (KeyRingError, SchemaError) as error:
        sys.stderr.write(f"oauth_web: {error}\n")
        sys.exit(2)
