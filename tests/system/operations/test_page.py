"""`docs/operations.md`: every command works, one after the other, on a real gateway."""

from __future__ import annotations

import contextlib
import re
import tempfile
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.system.operations.page import BLOCKS, environment_of, run, running


def test_every_block_that_is_not_run_has_a_reason() -> None:
    notes = [note for kind, note, _ in BLOCKS if kind == "sh"]
    assert len(notes) > 10
    known = {"", "background", "new-machine"}  # the last are run by test_disaster.py
    assert all(note in known or re.fullmatch(r"elsewhere: \w+ .+", note) for note in notes)
    assert sum(note.startswith("elsewhere") for note in notes) <= 3
    assert {kind for kind, _, _ in BLOCKS} == {"sh", "toml"}


@pytest.mark.timeout(600)
def test_every_command_works_in_the_order_of_the_page() -> None:
    with tempfile.TemporaryDirectory(prefix="op-") as name, contextlib.ExitStack() as gateway:
        folder, port = Path(name), free_port()
        environment = environment_of(folder)
        for kind, note, text in BLOCKS:
            block = text.replace("localhost:8080", f"localhost:{port}")
            if kind == "toml":
                (folder / note).write_text(block, encoding="utf-8")
            elif note == "background":
                gateway.enter_context(running(block, folder, environment))
            elif not note:
                environment = run(block, folder, environment)
