"""Time stamps of checkpoints by a time-stamping authority (RFC 3161): asked for, kept, and verified.

A stamp proves that a checkpoint, and so everything that its tree has, existed at the time that the authority
states. A person with the sealer's key can make another tree, and no stamp of an earlier time for it.

timestamps/20261130T060000Z-1234.checkpoint  the signed note, byte for byte as it was stamped
timestamps/20261130T060000Z-1234.tsr         the answer of the authority (RFC 3161 section 2.4.2)

Both are in the folder `sealed`. The name has the time of the checkpoint and the size of its tree. Other programs
can verify a pair: `openssl ts -verify -data X.checkpoint -in X.tsr -CAfile CA`.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from oauth_core.audit_log.checkpoints import parse_checkpoint
from oauth_core.audit_log.signed_notes import LONGEST_NOTE, NoteError, split_note
from oauth_core.process import private_files
from portcullis.audit import record_files
from portcullis.outgoing.posting import NoAnswerError, post

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography.x509 import Certificate
    from rfc3161_client import TimeStampResponse

INSTALL = "pip install --require-hashes -r requirements/audit.txt, or pip install 'mcp-portcullis[audit]'"
LONGEST_ANSWER = 64 * 1024
"""Bytes of an answer that is read: those of public authorities have some 6 KB, with their certificates."""
_LONGEST_CA_FILE = 1024 * 1024
_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9]{1,18}\.tsr\Z")
_HEADERS = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}
"""RFC 3161 section 3.4."""
CLOCK_SECONDS = 60.0
"""A larger difference of the clocks of the authority and of this machine is reported."""


class TimestampError(Exception):
    """The answer is no stamp of this note by an authority of the file. The message says why."""


class Authorities:
    """The certificates of the authorities whose stamps count."""

    def __init__(self, certificates: list[Certificate]) -> None:
        self._certificates = certificates

    @classmethod
    def read(cls, path: Path) -> Authorities:
        """Read a PEM file. Raises `ValueError`, whose message has no address and no content."""
        # Imported here: only the sealers that use it need the extra, and it takes a while.
        try:
            import rfc3161_client  # noqa: F401, PLC0415
        except ImportError as error:
            if error.name != "rfc3161_client":
                raise
            raise ValueError(f"time stamps need a package that is not installed: {INSTALL}") from None
        from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415

        try:
            with path.open("rb") as file:
                found = load_pem_x509_certificates(file.read(_LONGEST_CA_FILE))
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from None
        except ValueError:
            raise ValueError(f"{path}: no certificates in PEM") from None
        return cls(found)

    def verify(self, answer: bytes, note: str, nonce: int | None = None) -> datetime:
        """Return the time of the stamp in `answer`, which must be of exactly this `note`.

        Its certificate must have the purpose of time stamping, and a chain to an authority that was valid at that
        time. Without a `nonce` an old answer counts too. Raises `TimestampError`.
        """
        from rfc3161_client import VerificationError, VerifierBuilder  # noqa: PLC0415

        stamp = _decoded(answer)
        verifier = VerifierBuilder(roots=self._certificates, nonce=nonce).build()
        try:
            verifier.verify_message(stamp, note.encode())
        except VerificationError as error:
            raise TimestampError(f"the time stamp does not verify: {error}") from None
        except (ValueError, TypeError, OverflowError):
            raise TimestampError(_NO_STAMP) from None
        return stamp.tst_info.gen_time.astimezone(UTC)


_NO_STAMP = "the answer has no time stamp"


def _decoded(answer: bytes) -> TimeStampResponse:
    """The time stamp of an answer. Raises `TimestampError`."""
    from rfc3161_client import decode_timestamp_response  # noqa: PLC0415

    try:
        found = decode_timestamp_response(answer)
        if found.status != 0:
            raise TimestampError(f"the authority refuses with status {found.status}")
        found.tst_info  # noqa: B018 - an answer without a stamp has none
    except (ValueError, TypeError, OverflowError):
        raise TimestampError(_NO_STAMP) from None
    return found


@dataclass(frozen=True, slots=True)
class Stamp:
    """A kept stamp: its name, the note and the answer."""

    name: str
    note: str
    answer: bytes


class Timestamps:
    """The kept stamps of one sealed folder, or of a copy of its folder `timestamps`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, sealed: Path) -> Timestamps:
        """The stamps of the sealed folder `sealed`."""
        return cls(sealed / "timestamps")

    def names(self) -> list[str]:
        """The names of all stamps, oldest first."""
        try:
            return sorted(path.name for path in self.folder.iterdir() if _NAME.match(path.name))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def read(self, name: str) -> Stamp:
        """Read a stamp. Raises `OSError`, and `UnicodeDecodeError` if its note is no text."""
        path = self.folder / name
        note = record_files.content(path.with_suffix(".checkpoint"), LONGEST_NOTE).decode("utf-8")
        return Stamp(name, note, record_files.content(path, LONGEST_ANSWER))

    def keep(self, note: str, answer: bytes) -> str:
        """Keep a stamp; return its name. Raises `OSError`."""
        checkpoint = parse_checkpoint(split_note(note)[0])
        moment = datetime.fromisoformat(checkpoint.time)
        name = f"{moment:%Y%m%dT%H%M%SZ}-{checkpoint.size}.tsr"
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if self.folder.is_symlink():
            raise record_files.UnusableFileError(self.folder, "it is a link")
        path = self.folder / name
        private_files.write(path.with_suffix(".checkpoint"), note)
        with private_files.replacing(path) as file:
            file.write(answer)
        private_files.sync_folder(self.folder)
        return name

    def newest(self) -> float:
        """The time of the checkpoint of the newest stamp, in seconds since the epoch; 0 without one."""
        names = self.names()
        if not names:
            return 0.0
        try:
            return datetime.strptime(names[-1].partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        except ValueError:  # a name that no sealer makes
            return 0.0


@dataclass(slots=True)
class StampCounts:
    """The stamps and the failures of a sealer since its start."""

    stamps: int = 0
    failures: int = 0
    stamped_at: float = 0.0
    """The time of the newest stamp in seconds since the epoch, by the authority; 0 without one."""


class Stamping:
    """Asks the authority at `url` for stamps, one each `interval` seconds, and keeps them.

    An authority that does not answer stops nothing.
    """

    def __init__(
        self,
        url: str,
        authorities: Authorities,
        kept: Timestamps,
        interval: float,
        report: Callable[[str], None],
    ) -> None:
        self._url = url
        self._authorities = authorities
        self._kept = kept
        self._interval = interval
        self._report = report
        self._is_clock_reported = False
        newest = kept.newest()
        # A clock that was set back must not put off the next stamp for longer than an interval.
        wait = min(interval, max(0.0, newest + interval - time.time()))
        self._due = time.monotonic() + wait
        self.counts = StampCounts(stamped_at=newest)

    def pause(self) -> float:
        """Seconds until the next stamp is due."""
        return self._due - time.monotonic()

    def send(self, note: str) -> str | None:
        """Ask for a stamp of `note`, verify it and keep it. Return the fault, which does not show the address."""
        fault = self._fault(note)
        if fault is not None:
            self.counts.failures += 1
        else:
            self._due = time.monotonic() + self._interval
        return fault

    def _fault(self, note: str) -> str | None:
        from rfc3161_client import HashAlgorithm, TimestampRequestBuilder  # noqa: PLC0415

        asked = TimestampRequestBuilder(note.encode(), HashAlgorithm.SHA256).build()
        try:
            answer = post(self._url, asked.as_bytes(), _HEADERS, most=LONGEST_ANSWER + 1)
            if not answer.is_success:
                return f"it answers {answer.status}"
            if len(answer.body) > LONGEST_ANSWER:
                return f"its answer has more than {LONGEST_ANSWER} bytes"
            moment = self._authorities.verify(answer.body, note, asked.nonce)
            self._kept.keep(note, answer.body)
        except (NoAnswerError, TimestampError) as error:
            return str(error)
        except NoteError as error:
            return f"the checkpoint cannot be used: {error}"
        except OSError as error:
            return f"{error.filename or self._kept.folder}: {error.strerror}"
        self.counts.stamps += 1
        self.counts.stamped_at = moment.timestamp()
        self._compare(moment)
        return None

    def _compare(self, moment: datetime) -> None:
        """Report a clock of this machine that differs from that of the authority, once until it is right."""
        difference = time.time() - moment.timestamp()
        is_wrong = abs(difference) > CLOCK_SECONDS
        if is_wrong and not self._is_clock_reported:
            self._report(
                f"the clock of this machine is {abs(difference):.0f} seconds "
                f"{'ahead of' if difference > 0 else 'behind'} that of the time-stamping authority"
            )
        self._is_clock_reported = is_wrong
