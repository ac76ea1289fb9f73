"""The messages to an operator about invalid pinned client documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from oauth_core.errors import SettingsError
from oauth_web.client_documents import pinned
from oauth_web.grants.catalog import GRANT_TYPES

if TYPE_CHECKING:
    from pathlib import Path


def test_all_faults_of_pinned_documents_are_reported_together(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_text('{"client_id": "https://b.example/c"}')
    (tmp_path / "c.json").write_text("[]")
    with pytest.raises(SettingsError) as caught:
        pinned.read_clients(tmp_path, GRANT_TYPES)
    assert len(caught.value.faults) == 3
    with pytest.raises(SettingsError, match="not a folder"):
        pinned.read_clients(tmp_path / "a.json", GRANT_TYPES)
