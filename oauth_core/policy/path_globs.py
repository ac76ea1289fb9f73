"""Globs over paths of files. A path that two programs could read as two files is no path here.

A path is refused if a program could find another file with it: by dot segments, escapes, backslashes, a second
Unicode form, a home folder, a drive, a stream, a wildcard or a variable. The target of a link in the file system
is unknown here: the service must not follow links out of its folders.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from oauth_core.policy.globs import glob_matches
from oauth_core.policy.text_readings import readings_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_ANY_FOLDERS = "**"
_AMBIGUOUS = re.compile(r'[\\%?#*{}$<>|":`\u00a5\u20a9\u2044\u2215\u2216\u29f5\u29f8\u29f9]|~[0-9]')
"""Characters that no file name on Windows may contain, and those that some programs replace: escapes (`%2e`),
variables, sets of names, short names (`PROGRA~1`), and letters that are a slash or backslash in some code pages.
"""

_IGNORABLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Marks, letters and a symbol that show nothing (most have Unicode's property Default_Ignorable_Code_Point)."""


def path_matches(patterns: Sequence[tuple[str, ...]], path: str) -> bool | None:
    """Whether `path` matches one of the patterns with these segments; `None` if the path is ambiguous.

    `*` stands for any characters within a segment, and `**` for one or more segments. One slash at the end of a
    path means the same as none.
    """
    found = [_segments_of(reading) for reading in readings_of(path) or ("",)]
    if None in found:
        return None
    # Also for the form in which characters are folded: two full-width dots, or one letter with two dots, are `..`.
    return all(any(_matches(pattern, segments) for pattern in patterns) for segments in found if segments)


def pattern_of(text: str) -> tuple[str, ...]:
    """The segments of a pattern. Raises `ValueError` for one that matches no path."""
    if text.count(_ANY_FOLDERS) > 1 or (_ANY_FOLDERS in text and _ANY_FOLDERS not in text.split("/")):
        raise ValueError(f"{text!r} may have one **, as a whole segment: /public/**")
    # A letter in the place of each star: what is left must be a path.
    if path_matches((), text.replace("*", "x")) is None or text.endswith("/"):
        raise ValueError(f"{text!r} matches no path, because no path may have these characters or segments")
    return tuple(text.split("/"))


def _segments_of(path: str) -> tuple[str, ...] | None:
    """The segments of `path`, the first of which is empty in an absolute path; `None` if it is ambiguous."""
    if not path or _AMBIGUOUS.search(path):
        return None
    absolute, *others = (path[:-1] if path.endswith("/") else path).split("/")
    segments = others if not absolute else [absolute, *others]
    if not segments or not all(map(_is_plain_segment, segments)) or absolute.startswith("~"):
        return None
    return (absolute, *others)


def _is_plain_segment(segment: str) -> bool:
    """Whether no program reads `segment` as another name: Windows drops dots and spaces at its end."""
    name = segment.partition(";")[0]  # some servers drop parameters: `..;x` is `..`
    if not name.isascii():  # some file systems drop what shows nothing, such as joiners
        for letter in filter(_shows_nothing, set(name)):
            name = name.replace(letter, "")
    return bool(name) and not set(name) <= {"."} and segment == segment.strip() and not segment.endswith(".")


def _shows_nothing(letter: str) -> bool:
    is_format = unicodedata.category(letter) == "Cf" or "VARIATION SELECTOR" in unicodedata.name(letter, "")
    return is_format or letter in _IGNORABLE


def _matches(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    if (pattern[0] == "") != (path[0] == ""):  # one is absolute, and the other begins anywhere
        return False
    if _ANY_FOLDERS not in pattern:
        return len(pattern) == len(path) and _all_match(pattern, path)
    place = pattern.index(_ANY_FOLDERS)
    first, last = pattern[:place], pattern[place + 1 :]
    if len(path) <= len(first) + len(last):
        return False
    return _all_match(first, path[:place]) and _all_match(last, path[len(path) - len(last) :])


def _all_match(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    return all(glob_matches(glob, segment) for glob, segment in zip(pattern, path, strict=True))
