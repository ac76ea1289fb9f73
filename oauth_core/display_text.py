"""The characters allowed in text that another party wrote and that people read, such as the name of an app.

Names exist in every script. So only characters that can hide text or change its direction are refused: control
characters, line and paragraph separators, surrogates, and characters that embed or override a direction of
writing.
"""

from __future__ import annotations

import unicodedata

# Invisible, but part of the spelling of words: joiners (Persian, scripts of India, emoji), direction marks, and
# the tags that some flags consist of.
_SPELLING = frozenset("\u200c\u200d\u200e\u200f\u061c") | frozenset(map(chr, range(0xE0020, 0xE0080)))
# Visible format characters: the signs before numbers and verses of Arabic, Syriac and Kaithi.
_SIGNS = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
_HIDDEN = frozenset("\u00ad\u180e\u200b\u2060\ufeff")
"""Invisible, and with no effect except on line breaks: editors and web pages leave them in copied text."""
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and a symbol that show nothing: the fillers of Hangul, and the pattern of Braille without dots."""
_MOST_MARKS = 30
_PLANE = 0x10000
_LAST_TWO = 0xFFFE


def is_displayable(text: str) -> bool:
    """Return whether every character of `text` may be shown to people."""
    # A caller chooses the length, so each character is looked up once.
    return text.isprintable() if text.isascii() else all(map(_may_be_shown, set(text)))


def without_hidden(text: str) -> str:
    """Return `text` without the characters that only affect line breaks.

    Two names that differ only in these look the same, so a name must not keep them.
    """
    return text if text.isascii() else "".join(character for character in text if character not in _HIDDEN)


def has_something_to_see(text: str) -> bool:
    """Return whether `text` has a letter, digit, sign or symbol. Spaces and joiners alone show no text."""
    return any(
        unicodedata.category(character)[0] in "LNPS" or _is_unassigned(character)
        for character in set(text) - _BLANK
    )


def has_short_runs_of_marks(text: str) -> bool:
    """Return whether `text` is in Unicode's Stream-Safe Text Format (UAX 15 section 13).

    Sorting a run of combining marks takes quadratic time, and every normal form sorts them. The words of all
    languages have short runs.
    """
    run = 0
    for character in text:
        run = run + 1 if unicodedata.combining(character) else 0
        if run > _MOST_MARKS:
            return False
    return True


def _may_be_shown(character: str) -> bool:
    category = unicodedata.category(character)
    if category == "Cn":
        return _is_unassigned(character)
    # Spaces of every width: French and Japanese use other spaces.
    return category[0] not in "CZ" or category == "Zs" or character in _SPELLING or character in _SIGNS


def _is_unassigned(character: str) -> bool:
    """Return whether a later Unicode than this Python's may define it, as happens with new emoji every year."""
    code = ord(character)
    is_no_character = code % _PLANE >= _LAST_TWO or 0xFDD0 <= code <= 0xFDEF  # noqa: PLR2004 - Unicode section 23.7
    # Reserved for invisible characters (Default_Ignorable_Code_Point).
    is_ignorable = code == 0x2065 or 0xFFF0 <= code <= 0xFFF8 or 0xE0000 <= code <= 0xE0FFF  # noqa: PLR2004
    return unicodedata.category(character) == "Cn" and not is_no_character and not is_ignorable
