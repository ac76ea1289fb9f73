"""The pages describe every setting as the code defines it, and no setting that does not exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from oauth_core.settings import KINDS, SECRETS
from oauth_core.settings.definitions import definitions
from portcullis.cli.main import cli
from tests.project.docs import settings_reference

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("page", settings_reference.PAGES, ids=lambda page: page.name)
def test_the_tables_of_settings_are_up_to_date(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert settings_reference.marked(text)
    assert settings_reference.filled(text) == text, "run python -m tests.project.docs.settings_reference"


def test_the_schema_is_up_to_date_and_the_command_prints_it() -> None:
    shipped = settings_reference.SCHEMA.read_text(encoding="utf-8")
    assert settings_reference.schema() == shipped, "run python -m tests.project.docs.settings_reference"
    assert CliRunner().invoke(cli, ["config", "schema"]).output == shipped


def test_an_outdated_table_is_detected_and_written_again() -> None:
    page = settings_reference.PAGES[0].read_text(encoding="utf-8")
    stale = page.replace("| integer, at least 16,", "| integer, at least 15,")
    assert stale != page
    assert settings_reference.filled(stale) == page


def test_the_page_of_settings_has_every_table_once() -> None:
    marked = settings_reference.marked(settings_reference.PAGES[0].read_text(encoding="utf-8"))
    wanted = {definition.table or settings_reference.TOP for definition in definitions(KINDS).values()}
    structures = {"identity_headers", "services", "alerts.destinations", "audit.sinks", "detection.responses"}
    assert sorted(marked) == sorted({*wanted, *structures})


def test_secrets_are_marked() -> None:
    rows = "".join(settings_reference.tables().values()).splitlines()
    marked = {row.split("`")[3].lower() for row in rows if "` (secret) |" in row}
    assert marked == SECRETS


def test_every_meaning_is_a_sentence_and_every_number_of_time_or_size_has_a_unit() -> None:
    for name, definition in definitions(KINDS).items():
        assert definition.setting.meaning.endswith("."), name
        if name.endswith(
            ("_seconds", "_lifetime", "_timeout", "_bytes", "_megabytes", "_percent", "_days", "_mb")
        ):
            assert definition.setting.unit, name


def test_no_two_settings_have_the_same_place_in_the_file() -> None:
    keys = [definition.key for definition in definitions(KINDS).values()]
    assert len(keys) == len(set(keys))
