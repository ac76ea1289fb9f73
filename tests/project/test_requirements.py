"""The manifest of requirements and the marks on the tests agree in both directions, and the page is made from
both.
"""

from __future__ import annotations

import pytest

from tests.project.requirements import manifest

LEVELS = {"MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY", "complaint"}


def requirements() -> list[manifest.Requirement]:
    return [requirement for source in manifest.sources() for requirement in source.requirements]


def test_every_requirement_has_a_test_or_a_reason() -> None:
    unshown = [r.key for r in requirements() if r.reason is None and r.key not in manifest.marks()]
    assert unshown == []


def test_no_requirement_has_both_a_test_and_a_reason() -> None:
    assert [r.key for r in requirements() if r.reason is not None and r.key in manifest.marks()] == []


def test_every_mark_names_a_requirement() -> None:
    assert manifest.marks().keys() - {r.key for r in requirements()} == set()


def test_every_requirement_has_a_unique_key_and_is_complete() -> None:
    keys = [r.key for r in requirements()]
    assert len(keys) == len(set(keys))
    assert [r.key for r in requirements() if r.level not in LEVELS or not r.says or not r.section] == []


def test_marks_are_read_as_pytest_reads_them(request: pytest.FixtureRequest) -> None:
    """This covers the tests of this run only. A mark that the manifest does not find would not count.

    A test counts where it is written, even if several suites inherit it.
    """
    marked = {
        (f"{item.function.__module__.replace('.', '/')}.py::{item.function.__name__}", key)
        for item in request.session.items
        if isinstance(item, pytest.Function)
        for mark in item.iter_markers(manifest.MARK)
        for key in mark.args
    }
    assert marked <= {(test, key) for key, tests in manifest.marks().items() for test in tests}


def test_the_page_is_up_to_date() -> None:
    assert manifest.PAGE.read_text(encoding="utf-8") == manifest.page()
