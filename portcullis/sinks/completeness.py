"""Proves that a sink has everything that was sealed, with the public key and the records of the sink alone.

The entries must have the root that the checkpoints have signed. Each entry has the numbers of the events in its
frame, so each of these events must be there. Where the frames are there too, each event must be that in its frame.

The records can be in any order and more than memory holds: they go into a temporary database on the disk.
"""

from __future__ import annotations

import base64
import binascii
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from oauth_core.audit_log import frames
from oauth_core.audit_log.checkpoints import open_checkpoint
from oauth_core.audit_log.entries import EntryError, FaultEntry, FrameEntry, parse_entry
from oauth_core.audit_log.frames import FrameError, FrameKind
from oauth_core.audit_log.signed_notes import NoteError
from oauth_core.crypto.digests import sha256
from portcullis.audit.beginnings import Beginning, GrowingTree
from portcullis.sinks.records import RecordKind, line_text
from portcullis.sinks.sealed_records import tree_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from oauth_core.audit_log.checkpoints import Checkpoint
    from oauth_core.audit_log.signed_notes import VerifierKey
    from portcullis.sinks.records import Record

_MOST_FINDINGS = 1000
_COMMIT_EVERY = 10_000
_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE events (boot TEXT, sequence INTEGER, digest BLOB, PRIMARY KEY (boot, sequence)) WITHOUT ROWID;
CREATE TABLE entries (place INTEGER PRIMARY KEY, entry TEXT);
CREATE TABLE frames (
    place INTEGER, part INTEGER, parts INTEGER, data BLOB, PRIMARY KEY (place, part)
) WITHOUT ROWID;
CREATE TABLE notes (note TEXT PRIMARY KEY) WITHOUT ROWID;
"""


@dataclass
class Proof:
    """The result: what is proven, and findings that say what is missing, altered, added or forged."""

    findings: list[str] = field(default_factory=list)
    more_findings: int = 0
    entries: int = 0
    """Entries that the newest proven checkpoint covers."""
    events: int = 0
    """Events of these entries that are there."""
    contents: int = 0
    """Events that are also proven to be unaltered, by their frames."""
    unproven: int = 0
    """Events that no proven entry has. The newest ones wait for a checkpoint."""
    repeated: int = 0
    """Records that came more than once."""
    others: int = 0
    """Records of other trees."""
    time: str = ""
    """The time of the newest proven checkpoint."""
    begins: int = 0
    """Entries before the part that is proven."""
    refused: list[str] = field(default_factory=list)
    """Records that the sink refused for good and does not have: they are in the file of refused ones."""
    end: Beginning | None = None
    """The beginning of what comes after the newest proven checkpoint."""

    @property
    def is_complete(self) -> bool:
        """Whether something is proven, and nothing contradicts it."""
        return self.entries > self.begins and not self.findings

    def find(self, sentence: str) -> None:
        """Note a finding."""
        if len(self.findings) < _MOST_FINDINGS:
            self.findings.append(sentence)
        else:
            self.more_findings += 1


def prove(
    records: Iterable[Record],
    key: VerifierKey,
    kept: Iterable[str] = (),
    *,
    begin: Beginning | None = None,
    refused: Iterable[Record] = (),
) -> Proof:
    """Prove what the records show; `kept` are notes of checkpoints that were kept elsewhere.

    With `begin` only entries from there on must be there. `refused` are records that the gateway kept because the
    sink refused them: each that the sink does not have is named in the proof.
    """
    proof = Proof(begins=0 if begin is None else begin.checkpoint.size)
    with closing(sqlite3.connect("")) as database:  # a temporary file
        database.executescript(_TABLES)
        _store(database, records, tree_name(key), proof)
        _store(database, refused, tree_name(key), proof, are_refused=True)
        notes = [note for (note,) in database.execute("SELECT note FROM notes")]
        if begin is not None:
            notes.append(begin.note)
        _prove(database, _opened([*notes, *kept], key, proof), proof, begin)
    return proof


# -- what is there ---------------------------------------------------------------------------------------------


def _store(
    database: sqlite3.Connection,
    records: Iterable[Record],
    tree: str,
    proof: Proof,
    *,
    are_refused: bool = False,
) -> None:
    for number, record in enumerate(records):
        if are_refused and not _is_there(database, record):
            proof.refused.append(record.id)
        if record.kind is RecordKind.EVENT:
            _store_event(database, record, proof)
        if record.tree != tree:
            proof.others += 1
        elif record.kind is RecordKind.CHECKPOINT:
            database.execute("INSERT OR IGNORE INTO notes VALUES (?)", (record.text,))
        elif record.kind is RecordKind.FRAME:
            _store_part(database, record, proof)
        elif record.index is not None:
            text = record.text if record.entry is None else record.entry
            is_event = record.kind is RecordKind.EVENT
            _store_entry(database, record.index, text, proof, counts=not is_event)
        if number % _COMMIT_EVERY == 0:
            database.commit()
    database.commit()


def _is_there(database: sqlite3.Connection, record: Record) -> bool:
    """Whether a record of the sink has the same place as this one."""
    if record.kind is RecordKind.EVENT:
        place = (f"{record.node}/{record.writer}/{record.boot}", record.sequence)
        query = "SELECT 1 FROM events WHERE boot = ? AND sequence = ?"
        return database.execute(query, place).fetchone() is not None
    if record.kind is RecordKind.FRAME:
        query = "SELECT 1 FROM frames WHERE place = ? AND part = ?"
        return database.execute(query, (record.index, record.part)).fetchone() is not None
    return database.execute("SELECT 1 FROM entries WHERE place = ?", (record.index,)).fetchone() is not None


def _store_event(database: sqlite3.Connection, record: Record, proof: Proof) -> None:
    place = (f"{record.node}/{record.writer}/{record.boot}", record.sequence)
    digest = _digest(record.text)
    if database.execute("INSERT OR IGNORE INTO events VALUES (?, ?, ?)", (*place, digest)).rowcount:
        return
    proof.repeated += 1
    (stored,) = database.execute("SELECT digest FROM events WHERE boot = ? AND sequence = ?", place).fetchone()
    if stored != digest:
        proof.find(f"altered: event {record.id} is there with two contents")


def _store_entry(database: sqlite3.Connection, place: int, entry: str, proof: Proof, *, counts: bool) -> None:
    if database.execute("INSERT OR IGNORE INTO entries VALUES (?, ?)", (place, entry)).rowcount:
        return
    proof.repeated += counts
    (stored,) = database.execute("SELECT entry FROM entries WHERE place = ?", (place,)).fetchone()
    if stored != entry:
        proof.find(f"altered: entry {place} is there with two contents")


def _store_part(database: sqlite3.Connection, record: Record, proof: Proof) -> None:
    try:
        data = base64.b64decode(record.text, validate=True)
    except (binascii.Error, ValueError):
        proof.find(f"altered: a part of the frame of entry {record.index} is no base64")
        return
    row = (record.index, record.part, record.parts, data)
    proof.repeated += not database.execute("INSERT OR IGNORE INTO frames VALUES (?, ?, ?, ?)", row).rowcount


def _opened(notes: Iterable[str], key: VerifierKey, proof: Proof) -> dict[int, list[tuple[Checkpoint, str]]]:
    """The checkpoints that the key has signed with their notes, by their sizes."""
    found: dict[int, list[tuple[Checkpoint, str]]] = {}
    for note in notes:
        try:
            checkpoint = open_checkpoint(note, key)
        except NoteError as error:
            proof.find(f"forged: a checkpoint: {error}")
            continue
        found.setdefault(checkpoint.size, []).append((checkpoint, note))
    return found


# -- what it proves --------------------------------------------------------------------------------------------


def _prove(
    database: sqlite3.Connection,
    checkpoints: dict[int, list[tuple[Checkpoint, str]]],
    proof: Proof,
    begin: Beginning | None,
) -> None:
    _prove_roots(database, checkpoints, proof, begin)
    closed: dict[str, int] = {}
    covered = 0
    query = "SELECT place, entry FROM entries WHERE place >= ? ORDER BY place"
    for place, text in database.execute(query, (proof.begins,)):
        if place >= proof.entries:
            break
        try:
            entry = parse_entry(text.encode())
        except EntryError:
            proof.find(f"altered: entry {place} is in no known form")
            continue
        if isinstance(entry, FaultEntry):
            continue
        covered += _prove_events(database, place, entry, proof)
        if entry.kind is FrameKind.CLOSING:
            closed[_boot_of(entry)] = entry.first + entry.count
    (total,) = database.execute("SELECT count(*) FROM events").fetchone()
    proof.events, proof.unproven = covered, total - covered
    for boot, end in closed.items():
        query = "SELECT count(*) FROM events WHERE boot = ? AND sequence >= ?"
        (count,) = database.execute(query, (boot, end)).fetchone()
        if count:
            proof.find(f"added: {count} events of {boot} are behind its end")


def _prove_roots(
    database: sqlite3.Connection,
    checkpoints: dict[int, list[tuple[Checkpoint, str]]],
    proof: Proof,
    begin: Beginning | None,
) -> None:
    """Compare the roots of the entries with those that were signed."""
    newest = max(checkpoints, default=0)
    if newest <= proof.begins:
        proof.find("missing: there is no checkpoint that the key has signed, so nothing can be proven")
    tree = GrowingTree() if begin is None else GrowingTree(proof.begins, begin.hashes)
    proof.entries = proof.begins
    for checkpoint, _ in checkpoints.get(proof.begins, ()):
        if checkpoint.root != tree.root():
            proof.find(f"altered: the first {proof.begins} entries do not have the root of the checkpoint")
    for place, text in _entries(database, newest, proof):
        tree.add(text.encode())
        for checkpoint, note in checkpoints.get(place + 1, ()):
            if checkpoint.root != tree.root():
                proof.find(f"altered: the first {place + 1} entries do not have the root of the checkpoint")
            else:
                proof.entries, proof.time = place + 1, checkpoint.time
                proof.end = Beginning(note, checkpoint, tuple(tree.hashes))


def _entries(database: sqlite3.Connection, size: int, proof: Proof) -> Iterator[tuple[int, str]]:
    """Yield the entries below `size` up to the first one that is missing; note all that are."""
    following, is_whole = proof.begins, True
    query = "SELECT place, entry FROM entries WHERE place >= ? AND place < ? ORDER BY place"
    for place, entry in database.execute(query, (following, size)):
        if place != following:
            proof.find(f"missing: entries {following} to {place - 1} of the tree")
            is_whole = False
        following = place + 1
        if is_whole:
            yield place, entry
    if following < size:
        proof.find(f"missing: entries {following} to {size - 1} of the tree")


def _prove_events(database: sqlite3.Connection, place: int, entry: FrameEntry, proof: Proof) -> int:
    """Return how many events of an entry are there; note those that are not, and those that are altered."""
    lines = _lines(database, place, entry, proof)
    if entry.kind is not FrameKind.EVENTS:
        return 0
    boot, end = _boot_of(entry), entry.first + entry.count
    query = "SELECT sequence, digest FROM events WHERE boot = ? AND sequence >= ? AND sequence < ?"
    there = dict(database.execute(query, (boot, entry.first, end)))
    if len(there) < entry.count:
        # Not by a list of all numbers: a forged frame can say that it has four billion events.
        first = next(number for number in range(entry.first, end) if number not in there)
        proof.find(f"missing: {entry.count - len(there)} events of {boot}, the first is {first}")
    for number, line in enumerate(lines, entry.first):
        if number in there:
            if there[number] == _digest(line_text(line)):
                proof.contents += 1
            else:
                proof.find(f"altered: event {boot}/{number} is not the one in its frame")
    return len(there)


def _lines(database: sqlite3.Connection, place: int, entry: FrameEntry, proof: Proof) -> list[bytes]:
    """The lines in the frame of an entry, if the frame is there and is the sealed one."""
    query = "SELECT part, parts, data FROM frames WHERE place = ? ORDER BY part"
    rows = database.execute(query, (place,)).fetchall()
    if not rows:
        return []
    if [part for part, _, _ in rows] != list(range(1, rows[0][1] + 1)):
        proof.find(f"missing: a part of the frame of entry {place}")
        return []
    data = b"".join(piece for _, _, piece in rows)
    try:
        frame = frames.read(data)
        if frame is None or frame.digest != entry.digest or frame.size != len(data):
            raise FrameError("it is not the sealed one")
        return frame.lines()
    except FrameError as error:
        proof.find(f"altered: the frame of entry {place}: {error}")
        return []


def _boot_of(entry: FrameEntry) -> str:
    return f"{entry.node}/{entry.writer}/{entry.boot}"


def _digest(text: str) -> bytes:
    return sha256(text.encode())
