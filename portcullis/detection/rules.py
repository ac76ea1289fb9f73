"""Reads the files of rules: each has one Sigma rule or correlation that is reported, and becomes one query."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sigma.collection import SigmaCollection
from sigma.conditions import ConditionAND, ConditionFieldEqualsValueExpression, ConditionOR
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaError
from sigma.rule import SigmaRule
from sigma.types import SigmaExists, SigmaString

from oauth_core.audit import FIELDS
from portcullis.detection.duckdb_backend import GAP_SECONDS, DuckDBBackend, condition_of, known, travel
from portcullis.detection.events_table import LOCATION
from portcullis.detection.needs import Need
from portcullis.detection.responses import Response, response_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SHIPPED = Path(__file__).parent / "rules"
_ENDINGS = {".yml", ".yaml"}
_LONGEST_FILE = 1 << 20
_IN_LINES = frozenset({"event", "outcome", *FIELDS})
"""The fields that are in the line of an event. Others come from its place, or are computed."""


class RuleError(ValueError):
    """A file of rules that cannot be used. The message has its path and says why."""


@dataclass(frozen=True)
class DetectionRule:
    """One rule. `name` is that of its file, and `description` the reason that a finding gives."""

    name: str
    id: str
    title: str
    description: str
    level: str
    status: str
    false_positives: tuple[str, ...]
    references: tuple[str, ...]
    tags: tuple[str, ...]
    group_by: tuple[str, ...]
    condition: str
    """The condition of the correlation in words; empty for a rule without one."""
    seconds: int
    """How far before an event the rule looks."""
    path: Path
    query: str = field(repr=False)
    needs: tuple[Need, ...] = field(repr=False)
    response: Response = field(default_factory=Response)
    needs_location: bool = False
    """Whether it uses fields that come from a database of locations."""


def load(folders: Sequence[Path] = (SHIPPED,)) -> list[DetectionRule]:
    """Return the rules of all files, by their names. A file replaces one of the same name in an earlier folder.

    Raises `RuleError`, and `OSError` for a folder that cannot be read.
    """
    paths = {
        path.stem: path
        for folder in folders
        for path in sorted(folder.iterdir())
        if path.suffix in _ENDINGS and not path.name.startswith(".")
    }
    rules = [_load(path) for _, path in sorted(paths.items())]
    ids: dict[str, str] = {}
    for rule in rules:
        if (other := ids.setdefault(rule.id, rule.name)) != rule.name:
            raise RuleError(f"{paths[rule.name]}: the rule {other} has the same id")
    return rules


def _load(path: Path) -> DetectionRule:
    try:
        if path.stat().st_size > _LONGEST_FILE:
            raise RuleError(f"{path}: more than {_LONGEST_FILE} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RuleError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        return _rule_of(path, SigmaCollection.from_yaml(text))
    except SigmaError as error:
        raise RuleError(f"{path}: {' '.join(str(error).split())}") from None
    except RuleError:
        raise
    except Exception as error:  # noqa: BLE001 - pySigma does not expect every form that YAML can have
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise RuleError(f"{path}: no Sigma rule can be read from it ({text})") from None


def _rule_of(path: Path, collection: SigmaCollection) -> DetectionRule:
    collection.resolve_rule_references()
    rules = list(collection.rules)
    referenced = {
        id(each.rule) for rule in rules if isinstance(rule, SigmaCorrelationRule) for each in rule.referenced_rules
    }
    reported = [rule for rule in rules if id(rule) not in referenced]
    if len(reported) != 1:
        raise RuleError(f"{path}: a file has one rule that no other one refers to, not {len(reported)}")
    [rule] = reported
    if not isinstance(rule, SigmaRule | SigmaCorrelationRule):
        raise RuleError(f"{path}: filters are not supported here")
    for name in ("id", "title", "description", "level"):
        if not getattr(rule, name):
            raise RuleError(f"{path}: {name} is missing")
    known_by, known_seconds = known(rule)
    if isinstance(rule, SigmaRule):
        for name in ("known", "travel"):
            if name in rule.custom_attributes:
                raise RuleError(f"{path}: {name} is for correlations")
    queries = DuckDBBackend().convert(collection)  # type: ignore[no-untyped-call]
    if len(queries) != 1:
        raise RuleError(f"{path}: one condition is supported, not {len(queries)}")
    correlation = rule if isinstance(rule, SigmaCorrelationRule) else None
    seconds = GAP_SECONDS if correlation is None else correlation.timespan.seconds
    bases = [one for one in rules if isinstance(one, SigmaRule)]
    return DetectionRule(
        name=path.stem,
        id=str(rule.id),
        title=str(rule.title),
        description=" ".join(str(rule.description).split()),
        level=str(rule.level),
        status=str(rule.status or ""),
        false_positives=tuple(rule.falsepositives or ()),
        references=tuple(rule.references or ()),
        tags=tuple(map(str, rule.tags or ())),
        group_by=tuple(correlation.group_by or ()) if correlation is not None else (),
        condition="" if correlation is None else _condition(correlation, known_by, known_seconds),
        seconds=max(seconds, known_seconds),
        path=path,
        query=queries[0],
        needs=tuple(_need(base) for base in bases),
        response=response_of(rule),
        needs_location=not _fields_of(rule, bases).isdisjoint(LOCATION),
    )


def _fields_of(rule: SigmaRule | SigmaCorrelationRule, bases: Sequence[SigmaRule]) -> set[str]:
    """The names of the fields that a rule uses."""
    found: set[str] = set()
    if isinstance(rule, SigmaCorrelationRule):
        found |= {*(rule.group_by or ()), str(condition_of(rule).fieldref)}
        found |= set(LOCATION) if travel(rule) is not None else set()
    waiting: list[object] = [each.parsed for base in bases for each in base.detection.parsed_condition]
    while waiting:
        condition = waiting.pop()
        found.add(str(getattr(condition, "field", "")))
        waiting += getattr(condition, "args", ())
    return found


def _condition(rule: SigmaCorrelationRule, known_by: str | None, known_seconds: int) -> str:
    kind, condition = str(rule.type), condition_of(rule)
    operator = {"GTE": "at least", "GT": "more than", "EQ": "exactly", "LT": "fewer than", "LTE": "at most"}
    count = f"{operator.get(condition.op.name, 'not')} {condition.count}"
    is_one = condition.count == 1
    what = {
        "event_count": "event" if is_one else "events",
        "value_count": f"value{'' if is_one else 's'} of {condition.fieldref}",
        "temporal": "kinds of events",
    }
    text = f"{count} {what.get(kind, kind)} within {rule.timespan.spec}"
    if (limits := travel(rule)) is not None:
        speed, distance = limits
        text = (
            f"km/h between two events, more than {speed}, over {distance} km at least within {rule.timespan.spec}"
        )
    if rule.group_by:
        text += f" of one {' and '.join(rule.group_by)}"
    if known_by is not None:
        text += f", where this {known_by} has an event that is {_duration(known_seconds)} older"
    return text


def _duration(seconds: int) -> str:
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds % length == 0:
            count = seconds // length
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds} seconds"


def _need(rule: SigmaRule) -> Need:
    """The need of a rule: the common properties of all events that fit it."""
    return _any(_bound(condition.parsed) for condition in rule.detection.parsed_condition)


def _bound(condition: object) -> Need:
    if isinstance(condition, ConditionFieldEqualsValueExpression):
        name, value = condition.field, condition.value
        if name not in _IN_LINES:
            return Need()
        if isinstance(value, SigmaExists):
            return Need(fields=frozenset({name}) if value.exists else frozenset())
        if isinstance(value, SigmaString):
            exactly = None if value.contains_special() else frozenset({str(value).lower()})
            return Need(
                exactly if name == "event" else None,
                frozenset({name}),
                exactly if name == "reason" else None,
            )
        return Need()
    if isinstance(condition, ConditionAND):
        found = Need()
        for each in map(_bound, condition.args):
            found = Need(
                _both(found.names, each.names), found.fields | each.fields, _both(found.reasons, each.reasons)
            )
        return found
    if isinstance(condition, ConditionOR):
        return _any(map(_bound, condition.args))
    return Need()


def _any(needs: Iterable[Need]) -> Need:
    found: Need | None = None
    for each in needs:
        if found is None:
            found = each
            continue
        found = Need(
            _either(found.names, each.names), found.fields & each.fields, _either(found.reasons, each.reasons)
        )
    return found or Need()


def _both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    """The values that fit both; `None` stands for all values."""
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _either(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    """The values that fit one or both; `None` stands for all values."""
    return None if one is None or other is None else one | other
