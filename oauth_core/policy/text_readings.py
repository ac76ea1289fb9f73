"""The texts that programs may read one text as: some normalize it, some trim it, some end it at a NUL.

Normalizing takes quadratic time for a long run of combining marks, which a caller can send. A text with such a run
is refused before (Unicode Standard Annex 15, Stream-Safe Text Format).
"""

from __future__ import annotations

import re
import unicodedata

from oauth_core.display_text import has_short_runs_of_marks, is_displayable

LONGEST_TEXT = 4096
"""Characters of a text that is compared with a pattern, as of a path in Linux. The form NFKC, which can have 18
times as many, has this limit too.
"""

_NO_LETTERS_OR_DIGITS = re.compile(r"[\W_]+")
_LONGEST_FOLDED = 512
"""Four times the longest name of a field in the settings: folding makes one character of four at most."""


def readings_of(text: str) -> frozenset[str] | None:
    """The texts that programs may read `text` as, on one line; `None` if that is not certain."""
    if len(text) > LONGEST_TEXT or not is_displayable(text) or text != text.strip():
        return None
    if text.isascii():
        return frozenset({text})
    if not has_short_runs_of_marks(text) or unicodedata.normalize("NFC", text) != text:
        return None
    folded = unicodedata.normalize("NFKC", text)
    return frozenset({text, folded}) if len(folded) <= LONGEST_TEXT else None


def skeleton(name: str) -> str:
    """The letters and digits of `name` without case, up to a NUL: names with the same ones may mean one field.

    Programs ignore case, and write `file_path` as `filePath` or `file-path`.
    """
    text = name.partition("\0")[0].strip()
    if text.isascii():
        folded = text.lower()
    elif len(text) > _LONGEST_FOLDED or not has_short_runs_of_marks(text):
        return text
    else:
        folded = unicodedata.normalize("NFKC", text).casefold()
    return _NO_LETTERS_OR_DIGITS.sub("", folded) or folded
