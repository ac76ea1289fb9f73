"""Verifies kept time stamps: each is of a checkpoint that the key has signed, and by an authority that counts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from portcullis.audit.findings import Report, Word
from portcullis.audit.timestamps import Authorities, Stamp, TimestampError, Timestamps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from oauth_core.audit_log.checkpoints import Checkpoint

_CLOSE = timedelta(minutes=10)
"""A larger difference between a stamp and the time in its checkpoint is noted."""


class StampCheck:
    """The verification of the stamps in `kept`. `opened` verifies the signature of a note at a place."""

    def __init__(
        self,
        kept: Sequence[Timestamps],
        authorities: Authorities | None,
        opened: Callable[[str, str], Checkpoint | None],
    ) -> None:
        self._kept = kept
        self._authorities = authorities
        self._opened = opened

    def run(self, report: Report) -> list[tuple[str, Checkpoint]]:
        """Verify all of them; return their checkpoints, which the tree must begin with."""
        found: list[tuple[str, Checkpoint]] = []
        times: list[tuple[datetime, int]] = []
        unverified = 0
        for stamps in self._kept:
            for name in stamps.names():
                place = f"timestamps/{name}"
                stamp = _read(stamps, name, place, report)
                checkpoint = None if stamp is None else self._opened(place, stamp.note)
                if stamp is None or checkpoint is None:
                    continue
                found.append((place, checkpoint))
                if self._authorities is None:
                    unverified += 1
                    continue
                try:
                    moment = self._authorities.verify(stamp.answer, stamp.note)
                except TimestampError as error:
                    report.find(Word.FORGED, place, str(error))
                    continue
                times.append((moment, checkpoint.size))
                _compare(place, checkpoint, moment, report)
        if times:
            newest, size = max(times)
            report.stamped.append(
                f"{len(times)} checkpoints, from {min(times)[0].isoformat()} to {newest.isoformat()}; "
                f"the last one has {size} entries"
            )
        if unverified:
            report.stamped.append(f"{unverified} checkpoints, not verified: name authorities with --timestamp-ca")
        return found


def _read(stamps: Timestamps, name: str, place: str, report: Report) -> Stamp | None:
    try:
        return stamps.read(name)
    except FileNotFoundError as error:
        report.find(Word.MISSING, place, f"{error.filename} does not exist")
    except UnicodeDecodeError:
        report.find(Word.FORGED, place, "its note is no text")
    except OSError as error:
        report.find(Word.ALTERED, place, error.strerror or str(error))
    return None


def _compare(place: str, checkpoint: Checkpoint, moment: datetime, report: Report) -> None:
    """Note a checkpoint whose own time is not that of its stamp: the clock was wrong, or it was dated back."""
    if checkpoint.time and abs(datetime.fromisoformat(checkpoint.time) - moment) > _CLOSE:
        report.stamped.append(
            f"{place}: its checkpoint says {checkpoint.time}, the authority {moment.isoformat()}"
        )
