"""Programs that the operator may name, and what they print about their version."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from oauth_core.errors import SettingsError
from oauth_core.process.child_process import output_of

if TYPE_CHECKING:
    from collections.abc import Mapping


def named_by(variable: str, environ: Mapping[str, str], path: str | None) -> str | None:
    """The path of the program that the environment `variable` names, or `None` if it is not set.

    Names are looked up on `path`. Raises `SettingsError` when the name is not that of a program.
    """
    if not (name := environ.get(variable)):
        return None
    if found := shutil.which(name, path=path):
        return found
    raise SettingsError([f"{variable}: {name} is not a program"])


def version_output(program: str, *, seconds: float) -> str:
    """The output of `program --version`. Raises `SettingsError`, also if it takes longer than `seconds`."""
    try:
        return output_of((program, "--version"), seconds=seconds).stdout
    except TimeoutError:
        raise SettingsError([f"{program}: no answer to --version"]) from None
    except OSError as error:
        raise SettingsError([f"{program}: {error.strerror}"]) from None
