"""The program of the check service, configured by `portcullis.toml` and the environment.

Exit codes: 0 stopped by a signal, 1 failed, 2 wrong settings or an address that cannot be listened on.
"""

from __future__ import annotations

import asyncio
import os
import sys
from argparse import ArgumentParser
from typing import TYPE_CHECKING

import structlog

from ext_authz.net.listen_addresses import ListenError
from ext_authz.process.supervisor import StartError, Supervisor
from ext_authz.process.worker_process import WRONG_SETTINGS, WorkerStarter
from oauth_core.errors import SettingsError
from oauth_core.process import logs, standard_streams
from oauth_core.process.process_template import ProcessTemplate
from oauth_core.process.supervision import SupervisionError
from oauth_core.settings import AuthzSettings, load, outdated_names

if TYPE_CHECKING:
    from oauth_core.process.process_template import Program


def main() -> int:
    """Serve until a signal stops it; return the exit code."""
    standard_streams.open_closed_ones()
    os.umask(0o077)  # only this user may use a Unix socket
    _take_options()
    starter = WorkerStarter(os.environ, ProcessTemplate.fork(_load_worker))
    try:
        settings = load(AuthzSettings, None, os.environ)
        logs.configure("ext_authz", settings.log_level, file=settings.log_file)
        for line in outdated_names(None, os.environ):
            structlog.get_logger("ext_authz").warning("settings.old_name", setting=line)
        asyncio.run(Supervisor(settings, os.environ, starter).run())
    except SettingsError as error:
        return _refuse(error.faults)
    except ListenError as error:
        return _refuse((str(error),))
    except StartError as error:
        if error.code is None:  # else the worker has logged the reason
            sys.stderr.write(f"ext_authz: {error}\n")
        return WRONG_SETTINGS if error.code == WRONG_SETTINGS else 1
    except SupervisionError as error:
        sys.stderr.write(f"ext_authz: {error}\n")
        return 1
    finally:
        starter.close()
    return 0


def _load_worker() -> Program:
    """In the template: import what a worker needs, and this process does not."""
    from ext_authz.process import worker  # noqa: PLC0415

    return worker.run


def _take_options() -> None:
    """Copy the options to the environment, because the workers read their settings from it too."""
    parser = ArgumentParser(prog="python -m ext_authz", description="The check service that Envoy asks.")
    parser.add_argument("--transport", choices=("auto", "http2", "grpcio"), help="default: check.transport")
    parser.add_argument("--workers", metavar="N", help="processes; 0 for one per core; default: check.workers")
    options = parser.parse_args()
    for variable, value in (("AUTHZ_TRANSPORT", options.transport), ("AUTHZ_WORKERS", options.workers)):
        if value is not None:
            os.environ[variable] = value


def _refuse(faults: tuple[str, ...]) -> int:
    sys.stderr.writelines(f"ext_authz: {fault}\n" for fault in faults)
    return WRONG_SETTINGS
