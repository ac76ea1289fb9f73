"""Reads the small files that settings name for addresses and secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST_FILE = 16_384


def text_of(key: str, path: Path) -> str:
    """The text of the file that the setting `key` names, without white space around it.

    Raises `ValueError`, whose message does not show the text.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST_FILE + 1)
        text = data.decode("utf-8-sig").strip()
    except OSError as error:
        raise ValueError(f"{key}: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{key}: {path}: it is not UTF-8") from None
    if not text or len(data) > _LONGEST_FILE:
        raise ValueError(f"{key}: {path}: it is empty or too long")
    return text
