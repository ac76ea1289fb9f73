"""The machine is lost. On a new one, the files that `docs/operations.md` says to keep restore the gateway."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.oauth_client import OAuthClient
from tests.support.ports import free_port
from tests.system.operations.page import BLOCKS, environment_of, run, running

if TYPE_CHECKING:
    from collections.abc import Iterator


def block_with(words: str) -> tuple[str, str]:
    """The one block of the page that contains `words`: its note and its text."""
    found = [(note, text) for _, note, text in BLOCKS if words in text]
    assert len(found) == 1, words
    return found[0]


class Machine:
    """A machine on which the page was followed up to the start."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.environment = environment_of(folder)

    def follow(self, words: str) -> None:
        """Run the block with these words."""
        note, text = block_with(words)
        block = text.replace("localhost:8080", f"localhost:{self.port}")
        if note.endswith(".toml"):
            (self.folder / note).write_text(block, encoding="utf-8")
        else:
            self.environment = run(block, self.folder, self.environment)

    @contextlib.contextmanager
    def started(self) -> Iterator[None]:
        _, text = block_with("portcullis up --config portcullis.toml")
        with running(text, self.folder, self.environment):
            yield


@contextlib.contextmanager
def machine(port: int) -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="op-") as name:
        yield Machine(Path(name), port)


@pytest.mark.timeout(600)
async def test_the_files_that_the_page_says_to_keep_restore_all_sign_ins_on_a_new_machine() -> None:
    port = free_port()  # the address stays the same on a new machine
    with tempfile.TemporaryDirectory(prefix="kept-") as kept:
        with machine(port) as lost:
            lost.follow("openssl rand")
            lost.follow('issuer = "http://localhost:8080"')
            with lost.started():
                async with OAuthClient(f"http://localhost:{port}") as client:
                    client_id = (await client.register()).client_id
                    tokens = await client.tokens(client_id)
                lost.follow("portcullis backup backup-of-today")
            shutil.copytree(lost.folder / ".portcullis" / "secrets", Path(kept) / "secrets")
            shutil.copy(lost.folder / "backup-of-today", kept)
        with machine(port) as new:
            shutil.copytree(kept, new.folder / "kept-elsewhere")
            new.follow('issuer = "http://localhost:8080"')
            new.follow("cp -R kept-elsewhere/secrets")
            with new.started():
                new.follow("restore --force kept-elsewhere/backup-of-today")
                async with OAuthClient(f"http://localhost:{port}") as client:
                    refreshed = await client.refresh(client_id, tokens["refresh_token"])
                    assert refreshed.status_code == 200, refreshed.text
