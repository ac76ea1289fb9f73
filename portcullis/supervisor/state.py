"""The state folder: its lock, the secrets that are created once, and the places of sockets and logs.

lock            held by the one `portcullis up` that uses the folder
secrets/        the master key, the assertion key and passwords, each a file for its owner only
redis/          Redis' configuration and data
audit/          the audit record, unless the settings name another folder
audit_seal.*    the sealer's key, its public half, and the newest checkpoint
acme/           the certificate, if it comes from an ACME authority
logs/           files for each child, and up.log; `log_files` rotates them
run/            sockets and the rendered Envoy configuration
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import stat
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from oauth_core.crypto.credentials import new_key, new_secret
from oauth_core.crypto.digests import sha256_hex
from oauth_core.errors import SettingsError
from oauth_core.jose.signing_keys import generate_key
from oauth_core.process import file_lock, private_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LONGEST_SOCKET_PATH = 100
"""The limit of the kernel is 107 characters, and 103 on macOS."""

_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./+@=~-]+")
"""A path that needs no escapes in a URL, in a list with commas and in the address of a gRPC server."""


class StateDir:
    """One state folder, held by this process."""

    def __init__(self, root: Path, run_dir: Path) -> None:
        self.root = root
        self.run_dir = run_dir
        self.logs = root / "logs"
        self.redis = root / "redis"
        self.acme = root / "acme"
        self._secrets = root / "secrets"
        for folder in (self.logs, self.redis, self.acme, self._secrets):
            _private_folder(folder)

    def master_key(self) -> Path:
        """The file of the master key, which encrypts the signing keys at rest. Without it every sign-in is
        lost.
        """
        return self._made_once("master-key", base64.b64encode(new_key()).decode("ascii"))

    def assertion_key(self) -> Path:
        """The file of the key that signs assertions for services (`oauth_core.tokens.service_assertions`)."""
        return self._made_once("assertion-key.pem", generate_key("ES256", now=0).to_pem().decode("ascii"))

    def password(self, name: str) -> Path:
        """The file of the password called `name`."""
        return self._made_once(name, new_secret())

    def _made_once(self, name: str, fresh: str) -> Path:
        path = self._secrets / name
        try:
            kept = path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return private_files.write(path, fresh + "\n")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError([f"{path}: {getattr(error, 'strerror', None) or error}"]) from None
        if not kept:
            raise SettingsError([f"{path} is empty; restore it, or remove it, and a new one is made"])
        path.chmod(0o600)
        return path


@contextmanager
def hold(root: Path, socket_names: Sequence[str]) -> Iterator[StateDir]:
    """Lock the state folder for this process, create it if it does not exist, and empty its run folder.

    `socket_names` are the files of the run folder. If their paths are too long for a Unix socket, or have
    characters with a meaning in its address, the run folder is a private one in the temporary folder. Raises
    `SettingsError` if another process holds the folder, or if it cannot be used.
    """
    root = Path(os.path.abspath(root))  # noqa: PTH100 - keep symbolic links
    with ExitStack() as stack:
        try:
            _private_folder(root, parents=True)
            stack.enter_context(file_lock.held(root / "lock"))
        except file_lock.HeldError as error:
            fault = f"another `portcullis up` (process {error.holder}) uses {root}"
            raise SettingsError([f"{fault}; stop it, or choose another folder with --state-dir"]) from None
        except OSError as error:
            raise SettingsError([f"state folder {root}: {error.strerror or error}"]) from None
        run_dir = _run_dir(root, socket_names)
        _empty(run_dir)
        try:
            yield StateDir(root, run_dir)
        finally:
            shutil.rmtree(run_dir, ignore_errors=True)


def is_held(root: Path) -> bool:
    """Whether a `portcullis up` uses this state folder now."""
    return file_lock.is_held(root / "lock")


def _run_dir(root: Path, socket_names: Sequence[str]) -> Path:
    wanted = root / "run"
    is_short = all(len(os.fsencode(wanted / name)) <= _LONGEST_SOCKET_PATH for name in socket_names)
    if is_short and _PLAIN_PATH.fullmatch(str(wanted)):
        return wanted
    # The same path for the same state folder, so that crashes leave at most one folder behind.
    digest = sha256_hex(os.fsencode(root))[:12]
    return Path(tempfile.gettempdir()) / f"portcullis-{os.getuid()}-{digest}"


def _empty(run_dir: Path) -> None:
    """Remove the sockets of ended processes: no other process uses this folder while we hold the lock."""
    try:
        _private_folder(run_dir)
        for entry in run_dir.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    except OSError as error:
        raise SettingsError([f"run folder {run_dir}: {error.strerror or error}"]) from None


def _private_folder(path: Path, *, parents: bool = False) -> None:
    """Create a folder for its owner only, or check that an existing one is ours, and close it to others.

    In a shared temporary folder another user may have created a file or a link at that path first.
    """
    if parents:
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        found = path.lstat()
        if path.is_symlink() and parents:
            found = path.stat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise SettingsError([f"{path} exists and is not a folder of this user"]) from None
        path.chmod(0o700)
