"""The options of the commands about sinks: which settings, which audit folder, which public key."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from oauth_core.errors import SettingsError
from oauth_core.settings import SinkSettings
from portcullis.audit.seal_key import KeyFileError, SealKey, read_verifier
from portcullis.cli.audit_folder import AUDIT_DIR_OPTION, CONFIG_OPTION, key_of, present_folder
from portcullis.sinks.cursors import Cursors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from oauth_core.audit_log.signed_notes import VerifierKey
    from oauth_core.settings.audit_sinks import AuditSink

F = TypeVar("F", bound="Callable[..., Any]")


@dataclass(frozen=True)
class SinkPlace:
    """The sinks of the settings, and the audit folder."""

    sinks: tuple[AuditSink, ...]
    audit_dir: Path
    metrics_listen: str | None = None
    settings: SinkSettings | None = None
    """All of them, with the audit folder."""

    @property
    def cursors(self) -> Cursors:
        """The places of the sinks."""
        return Cursors(self.audit_dir)

    @property
    def public_key(self) -> Path:
        """The file of the public key of checkpoints."""
        return SealKey(key_of(self.audit_dir)).public

    def key(self) -> VerifierKey:
        """The public key of checkpoints. Raises `SettingsError`."""
        try:
            return read_verifier(self.public_key)
        except KeyFileError as error:
            raise SettingsError([f"{error}; only what is sealed is sent, so a sealer must have run"]) from None


def sink_options(command: F) -> F:
    """Add `--config` and `--audit-dir`. The command gets `place`, a `SinkPlace`."""

    @wraps(command)
    def with_place(*given: Any, config: Path | None, audit_dir: Path | None, **options: Any) -> Any:
        return command(*given, place=_place(config, audit_dir), **options)

    return cast("F", AUDIT_DIR_OPTION(CONFIG_OPTION(with_place)))


def sink_options_read_later(command: F) -> F:
    """As `sink_options`, but the command gets `read_place`, which reads the settings at each call."""

    @wraps(command)
    def with_place(*given: Any, config: Path | None, audit_dir: Path | None, **options: Any) -> Any:
        return command(*given, read_place=partial(_place, config, audit_dir), **options)

    return cast("F", AUDIT_DIR_OPTION(CONFIG_OPTION(with_place)))


def _place(config: Path | None, audit_dir: Path | None) -> SinkPlace:
    settings, folder = present_folder(SinkSettings, config, audit_dir)
    own = settings.model_copy(update={"audit_dir": folder})
    return SinkPlace(settings.audit_sinks, folder, settings.audit_sinks_metrics_listen, own)
