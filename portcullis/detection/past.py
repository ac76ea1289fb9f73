"""Judges the hours of the past by baselines, as `portcullis alerts run` judges the present ones."""

from __future__ import annotations

import tempfile
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from portcullis.audit import moments
from portcullis.detection.profiles import FILE_NAME, HISTORY_HOURS, Profiles, activities_of, hour_of

if TYPE_CHECKING:
    from portcullis.audit.reading import Reading
    from portcullis.audit.sealing import Sealing
    from portcullis.detection.profiles import Unusual


class PastHours:
    """The whole hours of a period, judged by baselines that have learnt the days before it."""

    def __init__(self, since: str, until: str) -> None:
        """`since` and `until` are recorded times. An hour that begins before or ends after them is left out."""
        self.first = hour_of((moments.read(since) + timedelta(hours=1, microseconds=-1)).timestamp())
        self.behind = hour_of(moments.read(until).timestamp())
        self.judged = 0
        self.unsealed_from: int | None = None
        """The first hour that has events without a seal: it is not judged, nor are those after it."""

    def unusual(
        self, audit_dir: Path, sealing: Sealing, reading: Reading, *, with_unsealed: bool = False
    ) -> list[Unusual]:
        """Learn the days before the period, and return the unusual hours in it, the oldest first.

        Raises `ProfilesError` and `OSError` where the baselines cannot be kept meanwhile.
        """
        found: list[Unusual] = []
        with (
            tempfile.TemporaryDirectory(prefix="portcullis-baselines-") as folder,
            closing(Profiles(Path(folder) / FILE_NAME, is_lasting=False)) as profiles,
        ):
            for hour in range(self.first - HISTORY_HOURS, self.behind):
                activities, are_sealed = activities_of(
                    audit_dir, hour, sealing, reading, with_unsealed=with_unsealed
                )
                if not are_sealed:
                    self.unsealed_from = hour
                    break
                unusual, learnt = profiles.judge(hour, activities)
                profiles.keep(hour, learnt)
                if hour >= self.first:
                    self.judged += 1
                    found += unusual
        return found
