"""The file in the state folder with which operators' commands reach a gateway of `portcullis up`.

The file names secrets by their files and holds none itself, so a person may read it:
`set -a; . .portcullis/operator.env; set +a`.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from portcullis.supervisor.redis_config import OPERATOR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portcullis.supervisor.options import UpOptions
    from portcullis.supervisor.runtime_paths import RuntimePaths

_NAME = "operator.env"


_OF_STANDIN = (
    "GITHUB_CLIENT_ID",
    "GITHUB_CLIENT_SECRET_FILE",
    "GITHUB_URL",
    "GITHUB_API_URL",
    "ALLOWED_GITHUB_USERS",
)


def render(options: UpOptions, paths: RuntimePaths, web: Mapping[str, str]) -> str:
    """The file for this gateway: lines that a shell can read. It does not repeat the operator's own secrets.

    `web` is the environment of the authorization server; the file takes the stand-in's variables from it.
    """
    values = variables(options, paths)
    if options.standin:
        values |= {name: web[name] for name in _OF_STANDIN if name in web}
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def variables(options: UpOptions, paths: RuntimePaths) -> dict[str, str]:
    """The variables with which a command reaches this gateway, without those of the stand-in."""
    values = {"PORTCULLIS_CONFIG": str(paths.config), "ISSUER": options.settings.issuer}
    if paths.redis is not None:
        values["REDIS_URL"] = f"unix://{quote(str(paths.redis.socket))}"
        values["REDIS_PASSWORD_FILE"] = str(paths.redis.passwords[OPERATOR])
    if paths.master_key_file is not None:
        values["MASTER_KEY_FILE"] = str(paths.master_key_file)
    elif brought := paths.environ.get("MASTER_KEY_FILE"):
        # So that `backup` and `restore` read the same key as `up`, in any shell.
        values["MASTER_KEY_FILE"] = str(Path(brought).absolute())
    if paths.assertion_key_file is not None:
        values["ASSERTION_KEY_FILE"] = str(paths.assertion_key_file)
    if paths.jwks_verification_key is not None:
        values["JWKS_VERIFICATION_KEY"] = paths.jwks_verification_key
    if paths.makes_session_key:
        values["SESSION_KEY_FILE"] = str(paths.session_key_file)
    values["ACME_DIR"] = str(paths.acme_dir.absolute())
    values["AUDIT_DIR"] = str(paths.audit_dir)
    values["AUDIT_SEAL_KEY"] = str(paths.audit_seal_key)
    values["ALERTS_OUTBOX"] = str(paths.alerts_outbox)
    return values


def path(state_dir: Path) -> Path:
    """The path of the file of a state folder."""
    return state_dir / _NAME


def read(state_dir: Path) -> dict[str, str]:
    """The variables of a state folder's file; empty if it cannot be read."""
    try:
        words = shlex.split(path(state_dir).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def merged_with(state_dir: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """`environ`, with the variables of the gateway of this state folder.

    Without a master key in `environ`, all variables of the folder count. With one, only the address of Redis does,
    if `environ` has none.
    """
    kept = read(state_dir)
    if not environ.get("MASTER_KEY") and not environ.get("MASTER_KEY_FILE"):
        return {**environ, **kept}
    if "REDIS_URL" in environ or "REDIS_URL" not in kept:
        return dict(environ)
    kept.pop("MASTER_KEY_FILE", None)
    return {**kept, **environ}
