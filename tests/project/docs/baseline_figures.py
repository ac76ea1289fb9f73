"""Compares the baselines of detection with other detectors on made and public traces, for a page.

`python -m tests.project.docs.baseline_figures` writes the figures of made traces into `docs/baselines.md` again.
With `--nab FOLDER` it writes those of the Numenta Anomaly Benchmark in that folder, which is no part of the
project. It takes about a minute and needs `river` (BSD-3-Clause), which is no dependency of the project.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import random
import re
from abc import ABC, abstractmethod
from collections import Counter, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from math import exp, log, sqrt
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Protocol

from portcullis.detection.baselines import LEAST_CALLS, LEAST_DAYS, LEAST_HOURS, Baseline
from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = ROOT / "docs" / "baselines.md"
PEOPLE, DAYS, SEED = 400, 60, 20261130
THEFT_DAYS = range(20, DAYS)
_NAB = (
    "realTweets/*.csv",
    "realAWSCloudwatch/elb_request_count_8c0756.csv",
    "realKnownCause/nyc_taxi.csv",
)
"""The series of the benchmark that count events. The others are temperatures, loads and prices."""


class Detector(Protocol):
    """Says of each hour with calls whether it is unusual, and learns it."""

    def sees(self, calls: int, hour: int) -> bool:
        """Judge, then learn."""


@dataclass(frozen=True)
class Hour:
    """An hour with calls of one person; `stolen` of them are a thief's."""

    hour: int
    calls: int
    stolen: int = 0


def poisson(rng: random.Random, mean: float) -> int:
    """A random count."""
    if mean > 50:
        return max(0, round(rng.gauss(mean, sqrt(mean))))
    limit, count, product = exp(-mean), 0, rng.random()
    while product > limit:
        count, product = count + 1, product * rng.random()
    return count


def trace(rng: random.Random) -> Iterator[Hour]:
    """The hours of one person: working hours, bursts of agents, weekends, holidays, and new habits."""
    kind = rng.choice(("light", "usual", "usual", "heavy", "agent"))
    rate = {"light": 3, "usual": 20, "heavy": 90, "agent": 150}[kind] * rng.lognormvariate(0, 0.4)
    begin, length = rng.randint(5, 10), rng.randint(6, 10)
    holiday = rng.randint(10, DAYS)
    theft = rng.choice(THEFT_DAYS) * 24 + rng.randrange(24) if rng.random() < 0.5 else -1
    stolen = round(10 ** rng.uniform(2, 3.7))
    for day in range(DAYS):
        if rng.random() < 0.01:
            rate *= rng.uniform(0.6, 1.8)
        works = day % 7 < 5 and not holiday <= day < holiday + 7
        for hour in range(24):
            active = begin <= hour < begin + length if works else rng.random() < 0.02
            mean = rate * rng.lognormvariate(0, 0.6) if active and rng.random() < 0.8 else 0.0
            if mean and rng.random() < 0.03:
                mean *= rng.uniform(2, 5)  # an agent works through a long task
            extra = stolen if day * 24 + hour == theft else 0
            calls = poisson(rng, mean) + extra
            if calls:
                yield Hour(day * 24 + hour, calls, extra)


class _OneHighest(Baseline):
    """The baseline with the highest hour itself in place of three times it."""

    peak_factor = 1.0


class Ours:
    """The baseline of the product, or a variant of it."""

    def __init__(self, kind: type[Baseline] = Baseline) -> None:
        self._baseline = kind()

    def sees(self, calls: int, hour: int) -> bool:
        found = self._baseline.judge(calls, hour).is_excessive
        self._baseline.learn(calls, hour)
        return found


class _Gated(ABC):
    """The gate of all other detectors: they judge after as many days and hours, and as many calls, as ours."""

    def __init__(self) -> None:
        self._days: set[int] = set()
        self._hours = 0

    def sees(self, calls: int, hour: int) -> bool:
        ready = len(self._days) >= LEAST_DAYS and self._hours >= LEAST_HOURS and calls > LEAST_CALLS
        self._days.add(hour // 24)
        self._hours += 1
        return self.judged(calls, hour % 24) and ready

    @abstractmethod
    def judged(self, calls: int, of_day: int) -> bool:
        """Judge, then learn. `of_day` is the hour of the day."""


class RobustZ(_Gated):
    """Median and median distance of the last 200 active hours."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self._limit = limit
        self._last: deque[int] = deque(maxlen=200)

    def judged(self, calls: int, of_day: int) -> bool:  # noqa: ARG002 - for others
        found = False
        if self._last:
            middle = median(self._last)
            spread = max(1.0, 1.4826 * median(abs(each - middle) for each in self._last))
            found = (calls - middle) / spread > self._limit
        self._last.append(calls)
        return found


class PoissonTail(_Gated):
    """The probability of so many calls, if their mean is that of the past."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self._limit = log(limit)
        self._mean = 0.0
        self._seen = 0

    def judged(self, calls: int, of_day: int) -> bool:  # noqa: ARG002 - for others
        # The bound of Chernoff for the tail.
        mean = max(self._mean, 0.5)
        found = calls > mean and calls - mean - calls * log(calls / mean) < self._limit
        self._seen += 1
        self._mean += max(0.05, 1 / self._seen) * (calls - self._mean)
        return found


class OfRiver(_Gated):
    """A detector of `river` with a threshold on its score."""

    def __init__(self, made: Any, limit: float, *, of_values: bool) -> None:
        super().__init__()
        self._made, self._limit, self._of_values = made, limit, of_values

    def judged(self, calls: int, of_day: int) -> bool:
        if self._of_values:
            score = self._made.score_one(None, calls)
            self._made.learn_one(None, calls)
        else:
            given = {"calls": min(1.0, log(calls + 1) / 10), "hour": of_day / 24}
            score = self._made.score_one(given)
            self._made.learn_one(given)
        return bool(score > self._limit)


def detectors() -> dict[str, Callable[[], Detector]]:
    """A maker of each detector, by its name in the page."""
    found: dict[str, Callable[[], Detector]] = {
        "**baseline** (roots, mean and spread, highest hour)": Ours,
        "baseline with once the highest hour, not three times": lambda: Ours(_OneHighest),
        "robust z-score above 6": lambda: RobustZ(6),
        "robust z-score above 12": lambda: RobustZ(12),
        "robust z-score above 25": lambda: RobustZ(25),
        "Poisson tail below 10⁻⁹": lambda: PoissonTail(1e-9),
        "Poisson tail below 10⁻¹⁰⁰": lambda: PoissonTail(1e-100),
    }
    anomaly: Any = importlib.import_module("river.anomaly")

    def gaussian(power: int) -> Detector:
        return OfRiver(anomaly.GaussianScorer(window_size=200, grace_period=20), 1 - 10**-power, of_values=True)

    def trees(limit: float) -> Detector:
        scorer = anomaly.HalfSpaceTrees(n_trees=10, height=8, window_size=50, seed=1)
        return OfRiver(scorer, limit, of_values=False)

    for power, digits in ((4, "⁴"), (6, "⁶"), (12, "¹²")):
        found[f"`river` GaussianScorer above 1 - 10⁻{digits}"] = partial(gaussian, power)
    for limit in (0.9, 0.97):
        found[f"`river` HalfSpaceTrees above {limit}"] = partial(trees, limit)
    return found


def figures() -> str:
    """The table."""
    rng = random.Random(SEED)  # noqa: S311 - the same traces each time
    people = [list(trace(rng)) for _ in range(PEOPLE)]
    thefts = [hour.stolen for person in people for hour in person if hour.stolen]
    days = PEOPLE * DAYS
    rows = [
        f"{PEOPLE} people for {DAYS} days, {len(thefts)} thefts of 100 to 5,000 calls in one hour:\n\n",
        "| detector | false alarms per 1,000 person-days | thefts found | of those with 1,000 calls or more |\n",
        "|---|---|---|---|\n",
    ]
    for name, make in detectors().items():
        false, found = 0, []
        for person in people:
            one = make()
            for hour in person:
                is_seen = one.sees(hour.calls, hour.hour)
                if hour.stolen and is_seen:
                    found.append(hour.stolen)
                false += is_seen and not hour.stolen
        large = [each for each in thefts if each >= 1000]
        share = 100 * sum(each >= 1000 for each in found) / len(large)
        rows.append(
            f"| {name} | {1000 * false / days:.1f} | {100 * len(found) / len(thefts):.0f} % | {share:.0f} % |\n"
        )
    return "".join(rows)


@dataclass(frozen=True)
class Series:
    """A public series by the hour: its counts, and the hours of its known anomalies."""

    hours: tuple[Hour, ...]
    anomalies: tuple[range, ...]

    @property
    def usual_days(self) -> float:
        """Days outside the anomalies, as far as there are hours with events."""
        return sum(not self.is_anomaly(hour.hour) for hour in self.hours) / 24

    def is_anomaly(self, hour: int) -> bool:
        """Return whether the hour is part of a known anomaly."""
        return any(hour in anomaly for anomaly in self.anomalies)


def _hour(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) // 3600


def public_series(folder: Path) -> list[Series]:
    """Read the counts of the benchmark in `folder`. Raises `OSError` if it is not there."""
    windows = json.loads((folder / "labels" / "combined_windows.json").read_text(encoding="utf-8"))
    found = []
    for path in sorted(path for pattern in _NAB for path in (folder / "data").glob(pattern)):
        counts: Counter[int] = Counter()
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                counts[_hour(row["timestamp"])] += round(float(row["value"]))
        known = windows[path.relative_to(folder / "data").as_posix()]
        anomalies = tuple(range(_hour(begin), _hour(end) + 1) for begin, end in known)
        hours = tuple(Hour(hour, calls) for hour, calls in sorted(counts.items()) if calls)
        found.append(Series(hours, anomalies))
    return found


def public_figures(folder: Path) -> str:
    """The table of the public series."""
    series = public_series(folder)
    known = sum(len(one.anomalies) for one in series)
    days = sum(one.usual_days for one in series)
    rows = [
        f"{len(series)} series with {days:.0f} days outside {known} known anomalies:\n\n",
        "| detector | false alarms per 1,000 series-days | anomalies with an alarm |\n",
        "|---|---|---|\n",
    ]
    for name, make in detectors().items():
        false = found = 0
        for one in series:
            detector = make()
            alarms = [hour.hour for hour in one.hours if detector.sees(hour.calls, hour.hour)]
            false += sum(not one.is_anomaly(hour) for hour in alarms)
            found += sum(any(hour in anomaly for hour in alarms) for anomaly in one.anomalies)
        rows.append(f"| {name} | {1000 * false / days:.0f} | {100 * found / known:.0f} % |\n")
    return "".join(rows)


def write(mark: str, made: str) -> None:
    """Replace the figures behind the comment `mark` in the page."""
    marked = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- end -->)", re.DOTALL)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(marked.sub(lambda found: f"{found[1]}{made}{found[2]}", page), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the figures of docs/baselines.md again.")
    parser.add_argument("--nab", type=Path, help="The folder of the Numenta Anomaly Benchmark.")
    folder = parser.parse_args().nab
    if folder is None:
        write("figures", figures())
    else:
        write("public figures", public_figures(folder))


if __name__ == "__main__":
    main()
