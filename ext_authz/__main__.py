"""Runs the check service: `python -m ext_authz`, set by `portcullis.toml` and the environment.

Exit codes: 0 stopped when told to, 1 failed, 2 wrong settings or an address that cannot be listened on.
"""

from __future__ import annotations

import os
import sys

import uvloop

from ext_authz.server import ListenError, serve
from oauth_core import logs
from oauth_core.errors import SettingsError
from oauth_core.settings import AuthzSettings, load


def main() -> int:
    """Serve until told to stop; return the exit code."""
    os.umask(0o077)  # a Unix socket is for this user alone
    try:
        settings = load(AuthzSettings, None, os.environ)
        logs.configure("ext_authz", settings.log_level)
        uvloop.run(serve(settings, logs.LogAuditSink()))
    except SettingsError as error:
        return _refuse(error.faults)
    except ListenError as error:
        return _refuse((str(error),))
    return 0


def _refuse(faults: tuple[str, ...]) -> int:
    sys.stderr.writelines(f"ext_authz: {fault}\n" for fault in faults)
    return 2


if __name__ == "__main__":
    sys.exit(main())
