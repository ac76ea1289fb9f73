"""Converts Sigma rules to SQL of DuckDB: each rule becomes one query that returns findings.

pySigma reads the rules. `pysigma-backend-sqlite` converts conditions; here are the differences between SQLite and
DuckDB. The correlations of that backend are programs for SQLite alone, so this module has templates of its own
for `event_count`, `value_count` and `temporal`; other types and correlations of correlations are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from sigma.backends.sqlite.sqlite import sqliteBackend
from sigma.correlations import SigmaCorrelationCondition, SigmaCorrelationRule, SigmaCorrelationTimespan
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError

from portcullis.detection.events_table import TABLE, VALUES, quoted, values_of

if TYPE_CHECKING:
    from sigma.conditions import ConditionValueExpression
    from sigma.conversion.state import ConversionState
    from sigma.rule import SigmaRule

GAP_SECONDS = 3600
"""Events of a rule without a correlation are one finding if they are of the same identities, and each is at most
so much later than the one before."""
IDENTITIES = ("user_id", "client_id", "grant_id", "operator", "service", "source")

_TICKS = 1_000_000_000

_QUERY = """\
WITH matched AS ({search}),
grouped AS (SELECT *, {group_key} AS group_key FROM matched),
keyed AS (
    SELECT *, CAST(epoch_us(moment) AS HUGEINT) * 1000 + least(999, dense_rank() OVER (
        PARTITION BY group_key, moment ORDER BY node, writer, boot, sequence) - 1) AS tick
    FROM grouped
),
measured AS (
    SELECT tick, group_key, {metric} AS metric, {begins} AS begins, {known_ticks} AS known_ticks
    FROM keyed WHERE NOT list_contains(list_transform(group_key, lambda value: value IS NULL), TRUE)
    WINDOW span AS (
        PARTITION BY group_key ORDER BY tick RANGE BETWEEN {ticks} PRECEDING AND CURRENT ROW
    ), pair AS (PARTITION BY group_key ORDER BY tick)
),
hits AS (
    SELECT *, CASE WHEN tick - lag(tick) OVER (PARTITION BY group_key ORDER BY tick) <= {ticks}
        THEN 0 ELSE 1 END AS is_new
    FROM measured WHERE ({condition}) AND known_ticks >= {known} AND tick >= $since
),
islands AS (
    SELECT group_key, min(begins) AS begins, max(tick) AS ends, max(metric) AS metric
    FROM (SELECT *, sum(is_new) OVER (PARTITION BY group_key ORDER BY tick) AS island FROM hits)
    GROUP BY group_key, island
)
SELECT any_value(islands.group_key) AS group_key, any_value(metric) AS metric,
    CAST(sum(weight) AS BIGINT) AS events,
    arg_min({place}, tick) AS first_event, arg_max({place}, tick) AS last_event,
    bool_and(sealed) AS sealed, {values}
FROM islands JOIN keyed ON keyed.group_key = islands.group_key AND tick BETWEEN begins AND ends
GROUP BY islands.group_key, begins, ends ORDER BY begins, ends, islands.group_key"""
"""An event that satisfies the condition is a hit. Hits of one group whose spans overlap are one finding.

A tick is a nanosecond. Events of one group in one microsecond have different ticks, so that one of them is the
first; which one it is does not depend on the order of reading. The weight of an event is its `count`, else one.
"""

_EARTH_KM = 6371.0
_DISTANCE = f"""2 * {_EARTH_KM} * asin(least(1.0, sqrt(
    pow(sin(radians(latitude - lag(latitude) OVER pair) / 2), 2)
    + cos(radians(latitude)) * cos(radians(lag(latitude) OVER pair))
    * pow(sin(radians(longitude - lag(longitude) OVER pair) / 2), 2)
))) - accuracy - lag(accuracy) OVER pair"""
"""The kilometres from the event before, less the errors of both positions."""

_LEAST_SECONDS = 60
"""Two events in less time count as so far apart, so that the clocks of two machines do not matter."""

_SPEED = f"""CASE WHEN tick - lag(tick) OVER pair <= {{ticks}} AND {_DISTANCE} >= {{least}}
    THEN ({_DISTANCE}) * 3600 * {_TICKS}.0 / greatest(tick - lag(tick) OVER pair, {_LEAST_SECONDS * _TICKS}) END"""
"""The speed in km/h that the event before and this one need, or no number."""

_PLACE = "struct_pack(node := node, writer := writer, boot := boot, sequence := sequence, time := recorded)"


_VALUES = ", ".join(map(values_of, VALUES))


class DuckDBBackend(sqliteBackend):
    """The backend. A query has the parameter `since`: the tick of the first event that may complete a finding."""

    identifier: ClassVar[str] = "duckdb"
    name: ClassVar[str] = "DuckDB"
    formats: ClassVar[dict[str, str]] = {"default": "Queries of DuckDB that return findings"}
    correlation_methods: ClassVar[dict[str, str]] = {"default": "Windows over the events of each group"}
    table = TABLE
    collate_nocase = True
    # All texts are VARCHAR, and DuckDB would try to read a text as a number where both meet.
    bool_expression: ClassVar[str] = "{field}={value}"
    wildcard_match_expression: ClassVar[str] = "{field} ILIKE '{value}' ESCAPE '\\'"
    re_expression: ClassVar[str] = "regexp_matches({field}, '{regex}')"
    null_safe_expression: ClassVar[str] = "COALESCE({expr}, FALSE)"
    field_timestamp_part_expression: ClassVar[str | None] = (
        "CAST(strftime(\"moment\", '{timestamp_part}') AS INTEGER)"
    )

    default_correlation_query: ClassVar[dict[str, str]] = {"default": "{aggregate}"}
    correlation_search_multi_rule_expression: ClassVar[str] = "{queries}"
    correlation_search_multi_rule_query_expression: ClassVar[str] = (
        f"SELECT *, {{ruleid}} AS matched_rule FROM {TABLE} WHERE {{query}}"  # noqa: S608 - of rule files
    )
    correlation_search_multi_rule_query_expression_joiner: ClassVar[str] = " UNION ALL "
    groupby_expression: ClassVar[dict[str, str]] = {"default": "[{fields}]"}
    groupby_field_expression: ClassVar[dict[str, str]] = {"default": "CAST({field} AS VARCHAR)"}
    groupby_field_expression_joiner: ClassVar[dict[str, str]] = {"default": ", "}
    groupby_expression_nofield: ClassVar[dict[str, str]] = {"default": "CAST([] AS VARCHAR[])"}

    def escape_and_quote_field(self, field: str) -> str:
        """Return `field` as DuckDB quotes names."""
        return quoted(field)

    def convert_condition_val(
        self,
        cond: ConditionValueExpression,  # noqa: ARG002 - as the backend calls it
        state: ConversionState,  # noqa: ARG002
    ) -> str | None:
        """Raise `SigmaError`: events have no text of all their fields."""
        raise SigmaFeatureNotSupportedByBackendError("values without a field (keywords) are not supported here")

    def finalize_query_default(
        self,
        rule: SigmaRule | SigmaCorrelationRule,
        query: str,
        index: int,  # noqa: ARG002 - as the backend calls it
        state: ConversionState,  # noqa: ARG002
    ) -> str:
        """Return the whole query of a rule. That of a correlation is whole already."""
        if isinstance(rule, SigmaCorrelationRule):
            return query
        parts = [f"COALESCE(CAST({quoted(name)} AS VARCHAR), '')" for name in IDENTITIES]
        return _query(
            search=f"SELECT * FROM {TABLE} WHERE {query}",  # noqa: S608 - of rule files
            group_key=f"[{', '.join(parts)}]",
            metric="sum(weight) OVER span",
            seconds=GAP_SECONDS,
            condition="TRUE",
        )

    def convert_correlation_rule_from_template(
        self, rule: SigmaCorrelationRule, correlation_type: str, method: str
    ) -> list[str]:
        """Return the query of a correlation. Raises `SigmaError` for what is not supported."""
        if any(isinstance(each.rule, SigmaCorrelationRule) for each in rule.referenced_rules):
            raise SigmaFeatureNotSupportedByBackendError("a correlation of correlations is not supported here")
        if len(rule.aliases):
            raise SigmaFeatureNotSupportedByBackendError("aliases are not needed: all events have the same fields")
        condition = condition_of(rule)
        metrics = {
            "event_count": "sum(weight) OVER span",
            "value_count": f"count(DISTINCT {self.convert_correlation_fieldref(condition.fieldref)}) OVER span",
            "temporal": "count(DISTINCT matched_rule) OVER span",
        }
        if correlation_type not in metrics:
            raise SigmaFeatureNotSupportedByBackendError(
                f"correlations are {', '.join(metrics)} here, not {correlation_type}"
            )
        operator = self.correlation_condition_mapping[condition.op]
        known_by, known_seconds = known(rule)
        if (limits := travel(rule)) is not None:
            speed, least = limits
            return [
                _query(
                    search=_any_of(rule),
                    group_key=self.convert_correlation_aggregation_groupby_from_template(rule.group_by, method),
                    metric=_SPEED.format(ticks=rule.timespan.seconds * _TICKS, least=least),
                    begins="lag(tick) OVER pair",
                    seconds=rule.timespan.seconds,
                    condition=f"metric > {speed}",
                )
            ]
        return [
            _query(
                search=self.convert_correlation_search(rule) if correlation_type == "temporal" else _any_of(rule),
                group_key=self.convert_correlation_aggregation_groupby_from_template(rule.group_by, method),
                metric=metrics[correlation_type],
                seconds=rule.timespan.seconds,
                condition=f"metric {operator} {condition.count}",
                known_by=known_by,
                known_seconds=known_seconds,
            )
        ]


def _any_of(rule: SigmaCorrelationRule) -> str:
    """The events of all rules that a correlation refers to. An event of two of them counts once."""
    queries = [query for each in rule.referenced_rules for query in each.rule.get_conversion_result()]
    return f"SELECT * FROM {TABLE} WHERE {' OR '.join(f'({query})' for query in queries)}"  # noqa: S608 - of rule files


def known(rule: SigmaRule | SigmaCorrelationRule) -> tuple[str | None, int]:
    """Return the field and the seconds of `known` in a rule: its identity must have events that are so much older.

    This is an attribute of ours (`known: {by: user_id, for: 1d}`), which Sigma allows and other programs ignore.
    """
    given: Any = rule.custom_attributes.get("known")
    if given is None:
        return None, 0
    if not (isinstance(given, dict) and given.keys() == {"by", "for"} and isinstance(given["by"], str)):
        raise SigmaFeatureNotSupportedByBackendError("known has two members: by (a field) and for (such as 1d)")
    return given["by"], SigmaCorrelationTimespan(given["for"]).seconds


def travel(rule: SigmaRule | SigmaCorrelationRule) -> tuple[int, int] | None:
    """Return km/h and km of `travel` in a rule: two events of a group, one after the other, need more than that.

    This is an attribute of ours too (`travel: {speed: 1000, distance: 500}`). Other programs use the condition.
    """
    given: Any = rule.custom_attributes.get("travel")
    if given is None:
        return None
    if not (
        isinstance(given, dict)
        and given.keys() == {"speed", "distance"}
        and all(isinstance(value, int) and value > 0 for value in given.values())
    ):
        raise SigmaFeatureNotSupportedByBackendError("travel has two members: speed (km/h) and distance (km)")
    return given["speed"], given["distance"]


def condition_of(rule: SigmaCorrelationRule) -> SigmaCorrelationCondition:
    """Return the condition of a correlation. Raises `SigmaError` for a form that is not supported."""
    condition = rule.condition
    if not isinstance(condition, SigmaCorrelationCondition):
        raise SigmaFeatureNotSupportedByBackendError("a condition is a number here, such as gte: 10, and no text")
    if isinstance(condition.fieldref, list):
        raise SigmaFeatureNotSupportedByBackendError("a count of values has one field")
    return condition


def _query(
    *,
    search: str,
    group_key: str,
    metric: str,
    seconds: int,
    condition: str,
    begins: str = "min(tick) OVER span",
    known_by: str | None = None,
    known_seconds: int = 0,
) -> str:
    known_ticks = "0"
    if known_by is not None:
        known_ticks = f"tick - min(tick) OVER (PARTITION BY {quoted(known_by)})"
    return _QUERY.format(
        search=search,
        group_key=group_key,
        metric=metric,
        begins=begins,
        ticks=seconds * _TICKS,
        condition=condition,
        known_ticks=known_ticks,
        known=known_seconds * _TICKS,
        place=_PLACE,
        values=_VALUES,
    )
