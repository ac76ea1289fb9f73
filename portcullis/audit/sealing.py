"""Which events are sealed: covered by the newest signed checkpoint of the audit folder.

This says what the sealer has signed. That nothing was changed since then is what `portcullis audit verify` proves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.audit_log.checkpoints import open_checkpoint, parse_checkpoint
from oauth_core.audit_log.signed_notes import NoteError, split_note
from portcullis.audit.seal_key import KeyFileError, read_verifier
from portcullis.audit.sealed_folder import SealedFolder

if TYPE_CHECKING:
    from pathlib import Path

    from oauth_core.audit_log.checkpoints import Checkpoint
    from portcullis.audit.reading import StoredEvent


class Sealing:
    """The newest checkpoint, and how many of the shown events it covers."""

    def __init__(self, audit_dir: Path, public_key: Path) -> None:
        """Read the checkpoint. Where the file `public_key` exists, its key must have signed it."""
        self.sealed = self.unsealed = 0
        self._checkpoint: Checkpoint | None = None
        self._missing = "no checkpoint"
        self._note = ""
        folder = SealedFolder(audit_dir)
        try:
            note = folder.read_checkpoint()
            if note is None:
                pass
            elif public_key.exists():
                self._checkpoint = open_checkpoint(note, read_verifier(public_key))
            else:
                self._checkpoint = parse_checkpoint(split_note(note)[0])
                self._note = f", its signature not checked: there is no {public_key.name}"
        except (OSError, UnicodeDecodeError, NoteError, KeyFileError) as error:
            self._missing = f"the checkpoint cannot be used: {error}"
        self._last = {} if self._checkpoint is None else _last_events(folder, self._checkpoint)

    @property
    def is_known(self) -> bool:
        """Whether there is a checkpoint that can be used."""
        return self._checkpoint is not None

    def covers(self, event: StoredEvent) -> bool:
        """Return whether the event is sealed, and count it."""
        is_sealed = event.sequence <= self._last.get((event.writer, event.boot), 0)
        self.sealed += is_sealed
        self.unsealed += not is_sealed
        return is_sealed

    def sentence(self) -> str:
        """A sentence about all events that `covers` has checked, without a full stop."""
        if self._checkpoint is None:
            return f"not sealed: {self._missing}"
        newest = f"checkpoint {self._checkpoint.size} of {self._checkpoint.time or 'an unknown time'}{self._note}"
        if not self.unsealed:
            return f"all sealed by the {newest}"
        if not self.sealed:
            return f"not sealed yet, the newest is the {newest}"
        return f"{self.sealed} sealed by the {newest}, {self.unsealed} not yet"


def _last_events(folder: SealedFolder, checkpoint: Checkpoint) -> dict[tuple[str, str], int]:
    """The last sealed event of each boot. A checkpoint does not repeat boots that were finished before it."""
    last: dict[tuple[str, str], int] = {}
    places = folder.read_places()
    if places is not None:
        _, _, finished = places
        for key, place in finished.items():
            writer, _, boot = key.partition("/")
            following = place.get("following")
            last[writer, boot] = following - 1 if isinstance(following, int) else 0
    last.update({(boot.writer, boot.boot): boot.last for boot in checkpoint.boots})
    return last
