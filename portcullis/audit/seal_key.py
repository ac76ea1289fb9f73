"""The key that signs checkpoints: its file, its public half beside it, and the newest checkpoint it has signed.

audit_seal.key         the private key, for its owner only
audit_seal.pub         the public half: a verifier key in the text form of C2SP signed-note
audit_seal.checkpoint  the newest checkpoint. Outside the audit folder it shows a roll-back of that folder
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oauth_core.audit_log.signed_notes import NoteError, Signer, VerifierKey
from oauth_core.crypto.credentials import new_key
from oauth_core.process import private_files

if TYPE_CHECKING:
    from pathlib import Path

KEY_NAME = "audit_seal.key"
"""The file beside the audit folder, unless the settings name another one."""


class KeyFileError(Exception):
    """A key file cannot be used. The message names it and says what to do."""


@dataclass(frozen=True, slots=True)
class SealKey:
    """The files of one key. `path` is that of the private key."""

    path: Path

    @property
    def public(self) -> Path:
        """The file of the public half."""
        return self.path.with_suffix(".pub")

    @property
    def checkpoint(self) -> Path:
        """The file of the newest checkpoint."""
        return self.path.with_suffix(".checkpoint")

    def make(self, node: str) -> Signer:
        """Make a key for the tree of `node`, and write both halves. Raises `OSError` and `NoteError`."""
        signer = Signer(f"{node}/portcullis-audit", new_key())
        private_files.write(self.path, signer.private_text() + "\n")
        private_files.write(self.public, signer.verifier.text + "\n")
        return signer

    def read(self) -> Signer | None:
        """Read the private key, or return `None` if there is no file. Raises `KeyFileError`."""
        try:
            text = self.path.read_text(encoding="utf-8").strip()
            signer = Signer.from_text(text)
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError, NoteError) as error:
            raise KeyFileError(f"{self.path}: {getattr(error, 'strerror', None) or error}") from None
        return signer


def read_verifier(given: str | Path) -> VerifierKey:
    """Read a verifier key from its text or from a file of it. Raises `KeyFileError`."""
    try:
        text = given if isinstance(given, str) else given.read_text(encoding="utf-8")
        return VerifierKey.from_text(text.strip())
    except (OSError, UnicodeDecodeError, NoteError) as error:
        raise KeyFileError(f"{given}: {getattr(error, 'strerror', None) or error}") from None
