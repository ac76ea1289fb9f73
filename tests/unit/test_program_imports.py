"""The modules of a program are imported without collections, and the collector goes on afterwards."""

from __future__ import annotations

import gc
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from oauth_core.process.program_imports import kept_imports

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

NAME = "module_of_test_program_imports"


def imported() -> ModuleType:
    with kept_imports():
        return import_module(NAME)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a module that Python finds and that no import has read."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    return tmp_path / f"{NAME}.py"


def test_no_garbage_collection_runs_while_a_module_is_imported(module: Path) -> None:
    module.write_text("import gc\nENABLED = gc.isenabled()\n")
    assert imported().ENABLED is False
    assert gc.isenabled()


def test_later_collections_do_not_look_at_what_the_import_made(module: Path) -> None:
    module.write_text("class Kept: pass\nKEPT = [Kept() for _ in range(1000)]\n")
    known = imported()
    looked_at = {id(one) for one in gc.get_objects()}  # those that are frozen are not listed
    assert not any(id(one) in looked_at for one in known.KEPT)


def test_a_module_that_is_known_is_returned_and_nothing_is_frozen(module: Path) -> None:
    module.write_text("")
    known = imported()
    made = [object()]
    assert imported() is known
    assert any(one is made for one in gc.get_objects())  # those that are frozen are not listed


def test_the_collector_runs_again_after_an_import_that_fails(module: Path) -> None:
    module.write_text("raise RuntimeError('broken')\n")
    with pytest.raises(RuntimeError, match="broken"):
        imported()
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off(module: Path) -> None:
    module.write_text("")
    gc.disable()
    try:
        imported()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_structlog_is_imported_without_rich_which_other_modules_can_import() -> None:
    code = """
import sys
from oauth_core.process.program_imports import kept_imports
with kept_imports():
    import structlog
assert not [name for name in sys.modules if name.partition(".")[0] == "rich"]
import rich.console
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)
