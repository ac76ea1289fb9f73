"""A sealed audit folder for tests: a sealer in this process, with a clock that the test moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from oauth_core.audit_log.checkpoints import Checkpoint, open_checkpoint
from portcullis.audit.seal_key import SealKey
from portcullis.audit.sealed_folder import SealedFolder
from portcullis.audit.sealer import Sealer
from tests.support.audit_segments import NODE

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2026, 11, 30, 6, 0, 0, tzinfo=UTC)


class SealedWorld:
    """`root/audit` and a key next to it. `reports` and `published` have the output of the sealers."""

    def __init__(self, root: Path) -> None:
        self.audit_dir = root / "audit"
        self.audit_dir.mkdir(parents=True, exist_ok=True)
        self.key = SealKey(root / "audit_seal.key")
        self.signer = self.key.read() or self.key.make(NODE)
        self.folder = SealedFolder(self.audit_dir)
        self.folder.root.mkdir(exist_ok=True)  # `held` does the same
        self.reports: list[str] = []
        self.published: list[str] = []
        self.seconds = 0.0
        self.sealer = self.new_sealer()

    def new_sealer(self) -> Sealer:
        """Start the sealer again."""
        self.sealer = Sealer(
            self.audit_dir,
            self.key,
            report=self.reports.append,
            publish=self.published.append,
            now=lambda: START + timedelta(seconds=self.seconds),
            monotonic=lambda: self.seconds,
        )
        return self.sealer

    def seal(self, seconds: float = 1.0) -> Checkpoint:
        """Advance the clock, seal everything, and return the newest checkpoint."""
        self.seconds += seconds
        while self.sealer.step():
            pass
        return self.checkpoint()

    def checkpoint(self) -> Checkpoint:
        """The newest checkpoint of the folder."""
        return open_checkpoint(self.folder.checkpoint.read_text(encoding="utf-8"), self.signer.verifier)
