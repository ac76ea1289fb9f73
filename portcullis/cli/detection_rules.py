"""The options that choose detection rules, and the packages that running these needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from oauth_core.errors import SettingsError
from portcullis.detection import automatic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from oauth_core.settings import AlertSettings
    from portcullis.detection.rules import DetectionRule

F = TypeVar("F", bound="Callable[..., Any]")

_MISSING = (
    "detection needs DuckDB, pySigma and maxminddb, which are not installed: "
    "pip install --require-hashes -r requirements/audit.txt, or pip install 'mcp-portcullis[audit]'"
)


def rule_options(command: F) -> F:
    """Add `--rule` and `--rules`; the command gets them as `names` and `folders`."""
    for option in (
        click.option(
            "--rules",
            "folders",
            metavar="FOLDER",
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            multiple=True,
            help="Rules of your own too: a .yml file adds a rule, or replaces the shipped one of its name.",
        ),
        click.option(
            "--rule",
            "names",
            metavar="ID",
            multiple=True,
            help="Only the rule of this name or id. Repeat for more.",
        ),
    ):
        command = option(command)
    return command


def chosen_rules(names: Sequence[str], folders: Sequence[Path]) -> list[DetectionRule]:
    """Return the rules that the options choose. Raises `SettingsError` and `click.UsageError`."""
    try:
        # Imported here: these packages are an extra, and a command's help does without them.
        from portcullis.detection.rules import SHIPPED, RuleError, load  # noqa: PLC0415
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] not in {"duckdb", "maxminddb", "sigma"}:
            raise
        raise SettingsError([_MISSING]) from None
    try:
        rules = load([SHIPPED, *folders])
    except RuleError as error:
        raise SettingsError([str(error)]) from None
    except OSError as error:
        raise SettingsError([f"{error.filename}: {error.strerror}"]) from None
    unknown = [name for name in names if not any(name in {rule.name, rule.id} for rule in rules)]
    if unknown:
        raise click.UsageError(f"there is no rule {', '.join(unknown)}; `portcullis audit rules` lists them")
    return [rule for rule in rules if not names or not {rule.name, rule.id}.isdisjoint(names)]


def rules_of(settings: AlertSettings) -> list[DetectionRule]:
    """Return the shipped rules and those of the settings. Raises `SettingsError`."""
    return chosen_rules((), [settings.alerts_rules] if settings.alerts_rules else [])


def faults_of_responses(settings: AlertSettings) -> list[str]:
    """Return why automatic responses of the settings cannot be carried out."""
    if not settings.detection_responses:
        return []
    try:
        rules = rules_of(settings)
    except SettingsError as error:
        return [f"detection.responses cannot be checked: {fault}" for fault in error.faults]
    return automatic.faults(settings.detection_responses, rules)
