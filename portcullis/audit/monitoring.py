"""Gives the newest checkpoint to the monitor of another node, with the proof that the tree only grew."""

from __future__ import annotations

import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from oauth_core.audit_log import merkle
from oauth_core.audit_log.checkpoints import open_checkpoint, parse_checkpoint
from oauth_core.audit_log.consistency import Consistency
from oauth_core.audit_log.signed_notes import LONGEST_NOTE, NoteError, split_note
from portcullis.audit.seal_key import KeyFileError
from portcullis.audit.tree import TreeError, TreeReader
from portcullis.outgoing.posting import NoAnswerError, post

if TYPE_CHECKING:
    import ssl

    from oauth_core.audit_log.checkpoints import Checkpoint
    from oauth_core.audit_log.signed_notes import Signer
    from portcullis.audit.seal_key import SealKey
    from portcullis.audit.sealed_folder import SealedFolder

PATH = "/checkpoints"
"""The path of a monitor."""
_PAUSE_SECONDS = 10.0
_LONGEST_ANSWER = LONGEST_NOTE + 64
_HEADERS = {"Content-Type": "text/plain; charset=utf-8"}
_ATTEMPTS = 3
_CONFLICT = (
    "CONFLICT: it keeps a signed checkpoint of {} entries, and this tree of {} entries does not continue it. The "
    "record was rolled back or replaced: run `portcullis audit verify` with the checkpoints that the monitor keeps"
)


@dataclass(slots=True)
class MonitorCounts:
    """The checkpoints that one monitor took since the start, the failures, and the conflicts that it proved."""

    taken: int = 0
    failures: int = 0
    conflicts: int = 0


class Monitoring:
    """Sends checkpoints of the tree in `sealed` to the monitor at `url`, one each ten seconds at most."""

    def __init__(self, url: str, tls: ssl.SSLContext | None, key: SealKey, sealed: SealedFolder) -> None:
        self.host = urlsplit(url).netloc
        self._url = url.rstrip("/") + PATH
        self._tls = tls
        self._key = key
        self._sealed = sealed
        self._known = 0
        """The size of the tree that the monitor has, as far as it is known here."""
        self._due = 0.0
        self.counts = MonitorCounts()

    def pause(self) -> float:
        """Seconds until the next checkpoint may be sent."""
        return self._due - time.monotonic()

    def send(self, note: str) -> str | None:
        """Send a checkpoint; return the fault, or `None` if the monitor has it."""
        fault = self._fault(note)
        if fault is None:
            self.counts.taken += 1
            self._due = time.monotonic() + _PAUSE_SECONDS
        else:
            self.counts.failures += 1
        return fault

    def _fault(self, note: str) -> str | None:
        try:
            signer = self._key.read()
            if signer is None:
                return "there is no key"
            checkpoint = open_checkpoint(note, signer.verifier)
            for _ in range(_ATTEMPTS):
                fault, is_final = self._attempt(signer, note, checkpoint)
                if is_final:
                    return fault
        except (NoteError, KeyFileError, TreeError, NoAnswerError) as error:
            return str(error)
        except OSError as error:
            return f"{error.filename or self._sealed.root}: {error.strerror}"
        return "its tree changes while it is asked"

    def _attempt(self, signer: Signer, note: str, checkpoint: Checkpoint) -> tuple[str | None, bool]:
        """Ask once; return the fault, and whether to stop: else the monitor has another size than was known."""
        old = min(self._known, checkpoint.size)
        path = TreeReader(self._sealed.root, checkpoint.size).consistency_path(old)
        statement = Consistency(checkpoint.origin, old, checkpoint.size, checkpoint.root, path)
        message = f"{statement.sign(signer)}\n{note}\n".encode()
        answer = post(self._url, message, _HEADERS, tls=self._tls, most=_LONGEST_ANSWER)
        if answer.status == HTTPStatus.OK:
            self._known = checkpoint.size
            return None, True
        if answer.status not in {HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}:
            return f"it answers {answer.status}", True
        # The answer alone proves nothing: a monitor that was taken over could call any record rolled back.
        kept = open_checkpoint(answer.body.partition(b"\n")[2].decode("utf-8", "replace"), signer.verifier)
        if self._continues(kept, checkpoint):
            if kept.size == old:
                return f"it answers {answer.status} to a right proof", True
            self._known = kept.size
            return None, False
        self.counts.conflicts += 1
        return _CONFLICT.format(kept.size, checkpoint.size), True

    def _continues(self, kept: Checkpoint, sent: Checkpoint) -> bool:
        """Whether the tree of this node, which may be larger than `sent` by now, begins with the tree of `kept`.

        Raises `NoteError`, `TreeError` and `OSError`.
        """
        newest = sent
        if kept.size > sent.size and (note := self._sealed.read_checkpoint()) is not None:
            newest = parse_checkpoint(split_note(note)[0])
        if kept.size > newest.size:
            return False
        return merkle.root(kept.size, TreeReader(self._sealed.root, newest.size).subtree) == kept.root
