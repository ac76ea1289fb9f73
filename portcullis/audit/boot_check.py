"""Verifies the segments of one boot: compares its frames with the entries that the tree has for it."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from oauth_core.audit_log.chain import Chain
from oauth_core.audit_log.frames import Frame, FrameError, FrameKind
from portcullis.audit.findings import Report, Word, ranges
from portcullis.audit.segments import BootReader, Damage, DamageKind, StoredFrame, opening_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oauth_core.audit_log.checkpoints import Checkpoint
    from portcullis.audit.sealed_boot import Place, SealedBoot
    from portcullis.audit.segments import Boot

SEALED_WITHIN = timedelta(seconds=60)
"""A frame that is so much older than a checkpoint must be in its tree."""

_TIME = re.compile(rb'"time": ?"([^"]{20,40})"')


@dataclass(frozen=True, slots=True)
class Part:
    """The segments of a boot that are asked for. `last` is `None` for all from `first` on."""

    first: int = 1
    last: int | None = None

    def has(self, segment: int) -> bool:
        """Whether a segment is asked for."""
        return segment >= self.first and (self.last is None or segment <= self.last)


WHOLE = Part()


class SealTimes:
    """When entries were sealed, by the signed checkpoints that are there."""

    def __init__(self, signed: Sequence[tuple[int, str]]) -> None:
        """`signed` has size and time of each checkpoint, in their order; the last one has the whole tree."""
        self._sizes = [size for size, _ in signed]
        self._times = [time for _, time in signed]

    def of(self, index: int) -> str:
        """The time of the first checkpoint that has the entry: a bound that no writer can make earlier."""
        return self._times[min(bisect_right(self._sizes, index), len(self._times) - 1)]


def part_within(
    boot: Boot, sealed: SealedBoot, times: SealTimes, since: str | None, until: str | None
) -> Part | None:
    """The segments of a boot that can have events from `since` to `until`, or `None` if none can.

    Both are times as events have them, or `None`. A segment has the events from the time of its own opening
    frame to that of the next segment. Only a sealed opening frame counts, because an attacker can write any
    other. An attacker can also add a segment whose opening has a false time, and have it sealed: so a segment is
    left out by `since` only if the next one was sealed before `since`, too. A segment without such times is
    always read.
    """
    if since is None and until is None:
        return WHOLE
    if until is not None and _time_of_name(boot.name) >= until:
        return None
    indexes = boot.segments()
    if not indexes:
        return WHOLE
    begins = [_beginning(boot, index, sealed, times) for index in indexes]
    wanted = [
        index
        for index, begin, following in zip(indexes, begins, [*begins[1:], None], strict=True)
        if begin is None
        or not (
            (since is not None and following is not None and max(*begin, *following) <= since)
            or (until is not None and begin[0] >= until)
        )
    ]
    if not wanted:
        return None
    first = 1 if wanted[0] == indexes[0] else wanted[0]
    return Part(first, None if wanted[-1] == indexes[-1] else wanted[-1])


class BootCheck:
    """The verification of one boot. `sealed` is empty for a boot that the tree does not have."""

    def __init__(
        self,
        boot: Boot,
        sealed: SealedBoot,
        checkpoint: Checkpoint,
        report: Report,
        deleted: frozenset[int] = frozenset(),
    ) -> None:
        """`deleted` are segments that a signed deletion names, and whose frames `sealed` has as seen."""
        self._boot = boot
        self._deleted = deleted
        self._sealed = sealed
        self._checkpoint = checkpoint
        self._report = report
        self._place = boot.key
        self._is_any_seen = False
        self._times: dict[bytes, int] = {}
        """How often a frame was seen, except the first time of a regular one."""
        self._doubled: set[int] = set()
        self._place_before: Place = (-1, 0)
        self._altered: set[int] = set()
        self._beyond: list[Frame] = []
        self._unknown: list[tuple[int, Frame]] = []
        """Frames whose number the tree does not have, each with the sealed number whose place it has."""
        self._last = 0
        """The last number with a sealed digest."""
        self._highest = 0
        self._is_out_of_order = False
        self._last_sealed = sealed.last

    def run(self, part: Part = WHOLE) -> bool:
        """Verify; return whether the boot has a closing frame. Raises `OSError`."""
        for fault in self._sealed.faults:
            if part.has(fault.segment):
                where = f"segment {fault.segment:06} at byte {fault.offset}"
                self._report.find(Word.DAMAGED, self._place, f"{where}: {fault.reason.value} when it was sealed")
        sealed, reader = self._sealed, BootReader(self._boot, segment=part.first)
        is_after_damage, is_closed, is_first = False, False, True
        for found in reader.read():
            if not part.has(found.segment):
                # Only its number counts: the frames from there on are not asked for. Any other frame may have
                # a number that an attacker chose.
                if isinstance(found, StoredFrame) and sealed.is_regular(found.frame.number, found.frame.digest):
                    sealed.leave_out(above=found.frame.number - 1)
                    break
                continue
            if is_first and isinstance(found, StoredFrame) and part.first > 1:
                number = found.frame.number
                if sealed.is_regular(number, found.frame.digest):
                    sealed.leave_out(below=number)
                    self._last = self._highest = number - 1
            is_first = False
            if isinstance(found, Damage):
                if found.kind is DamageKind.NO_SEGMENT and found.segment in self._deleted:
                    continue
                if not self._sealed.has_fault(found):
                    word = Word.MISSING if found.kind is DamageKind.NO_SEGMENT else Word.ALTERED
                    self._report.find(word, self._place, str(found))
                    is_after_damage = found.kind is not DamageKind.NO_SEGMENT
                continue
            frame = found.frame
            if is_after_damage:
                # The frames that were in the place of the damage.
                self._altered |= {number for number in sealed.numbers() if self._highest < number < frame.number}
                is_after_damage = False
            self._take(frame)
            is_closed = frame.kind is FrameKind.CLOSING
        self._finish(reader.tail, is_after_damage=is_after_damage)
        return is_closed or self._sealed.is_closed

    def _take(self, frame: Frame) -> None:
        sealed, number = self._sealed, frame.number
        if places := sealed.places_of(number, frame.digest):
            is_irregular, was_seen = sealed.is_irregular(number), sealed.was_seen(number)
            times = self._times.get(frame.digest, int(was_seen and not is_irregular))
            if was_seen or is_irregular:
                self._times[frame.digest] = times + 1
            sealed.mark(number)
            self._is_any_seen = True
            if times >= len(places):
                self._doubled.add(number)
            else:
                self._is_out_of_order |= places[times] < self._place_before
                self._place_before = max(self._place_before, places[times])
            self._report.frames += 1
            self._report.events += frame.count
            self._last = number
        elif number in sealed:
            self._altered.add(number)
            self._last = number
        else:
            self._unknown.append((self._last + 1, frame))
            return
        self._highest = max(self._highest, number)

    def _finish(self, tail: int, *, is_after_damage: bool) -> None:
        for expected, frame in self._unknown:
            if expected in self._sealed and not self._sealed.was_seen(expected):
                self._altered.add(expected)  # its number was altered
            else:
                self._beyond.append(frame)
        missing = [number for number in self._sealed.unseen() if number not in self._altered]
        if missing and (tail or is_after_damage):
            self._altered.add(missing.pop(0))  # the frame whose beginning is there
        altered = sorted(number for number in self._altered if number in self._sealed)
        if altered:
            self._report.find(Word.ALTERED, self._place, f"{_frames(altered)} not as sealed")
        if missing:
            what = (
                "the whole boot"
                if not self._is_any_seen and not altered and not self._beyond
                else _frames(missing)
            )
            detail = f"{what}: {self._sealed.events} events" if what == "the whole boot" else f"{what} not there"
            self._report.find(Word.MISSING, self._place, detail)
        if self._is_out_of_order:
            self._report.find(Word.ALTERED, self._place, "its frames are not in their order")
        if self._doubled:
            detail = f"{_frames(sorted(self._doubled))} there more than once"
            self._report.find(Word.ADDED, self._place, detail)
        self._check_beyond()

    def _check_beyond(self) -> None:
        """Look at the frames that the tree does not have: the newest ones may wait to be sealed."""
        if not self._beyond:
            return
        numbers = [frame.number for frame in self._beyond]
        if self._sealed.is_closed or min(numbers) <= self._last_sealed:
            self._report.find(Word.ADDED, self._place, f"{_frames(sorted(set(numbers)))} not in the sealed tree")
            return
        chain = self._chain_of_beyond()
        for frame in self._beyond:
            if (fault := chain.fault_of(frame)) is not None:
                self._report.find(Word.ALTERED, self._place, f"not sealed yet, and {fault}")
            chain.add(frame)
        if self._are_late():
            detail = f"{_frames(numbers)} older than the checkpoint and not in its tree"
            self._report.find(Word.ADDED, self._place, detail)
            return
        self._report.unsealed.append(f"{self._place}: {_frames(numbers)} not sealed yet")

    def _chain_of_beyond(self) -> Chain:
        """The chain in front of the frames that are not sealed."""
        first = self._beyond[0]
        if not self._last_sealed:
            return Chain()
        digest = self._sealed.digest_of(self._last_sealed) or first.before
        return Chain(self._last_sealed, self._sealed.events + 1, digest)

    def _are_late(self) -> bool:
        """Whether the sealer must have seen the first of these frames before it signed the checkpoint."""
        signed = _moment(self._checkpoint.time)
        if signed is None or self._checkpoint.behind:
            return False
        written = self._moment_of(self._beyond[0])
        return written is not None and written < signed - SEALED_WITHIN

    def _moment_of(self, frame: Frame) -> datetime | None:
        """When a frame was written, by its last line; else when its boot began."""
        try:
            lines = frame.lines()
        except FrameError as error:
            self._report.find(Word.ALTERED, self._place, f"frame {frame.number} not sealed yet, and {error}")
            lines = []
        found = _TIME.search(lines[-1]) if lines else None
        moment = _moment(found[1].decode("ascii", "replace")) if found else None
        return moment or _moment(_time_of_name(self._boot.name))


def _beginning(boot: Boot, index: int, sealed: SealedBoot, times: SealTimes) -> tuple[str, str] | None:
    """When a segment began by its opening frame, and when that was sealed.

    `None` unless it is sealed as the opening of this segment.

    A sealed frame that did not follow the one before it is no such opening: the sealer found it in a wrong place.
    """
    try:
        found = next(BootReader(boot, segment=index).read_segment(), None)
    except OSError:
        return None
    if not isinstance(found, StoredFrame) or not sealed.is_regular(found.frame.number, found.frame.digest):
        return None
    opening = opening_of(found.frame)
    time = opening.get("time")
    if opening.get("segment") != index or not isinstance(time, str):
        return None
    return time, times.of(sealed.openings[found.frame.number])


def _frames(numbers: list[int]) -> str:
    return f"frame {numbers[0]} is" if len(numbers) == 1 else f"frames {ranges(numbers)} are"


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _time_of_name(name: str) -> str:
    """The RFC 3339 time of the name of a boot, such as `20261130T060000Z-0123abcd`."""
    day, clock = name[:8], name[9:15]
    return f"{day[:4]}-{day[4:6]}-{day[6:]}T{clock[:2]}:{clock[2:4]}:{clock[4:]}Z"
