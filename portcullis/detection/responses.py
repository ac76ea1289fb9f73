"""The response of an operator to a finding: commands with the identities of the finding, and a sentence.

They are the member `response` of a rule file, which Sigma allows and other programs ignore.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from sigma.exceptions import SigmaFeatureNotSupportedByBackendError

from portcullis.detection.events_table import VALUES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sigma.correlations import SigmaCorrelationRule
    from sigma.rule import SigmaRule

_PLACE = re.compile(r"\{([a-z_]+)\}")
MOST = 3
"""Commands that are made of one command of a rule, for different values."""


@dataclass(frozen=True)
class Response:
    """Commands that show the extent, commands that end it, and advice. `{grant_id}` stands for a value."""

    extent: tuple[str, ...] = ()
    end: tuple[str, ...] = ()
    advice: str = ""


def response_of(rule: SigmaRule | SigmaCorrelationRule) -> Response:
    """Return the member `response` of a rule, or an empty one. Raises `SigmaError` for a wrong form."""
    given: Any = rule.custom_attributes.get("response", {})
    if not isinstance(given, dict) or not given.keys() <= {"extent", "end", "advice"}:
        raise SigmaFeatureNotSupportedByBackendError("response has the members extent, end and advice")
    commands = {name: given.get(name, []) for name in ("extent", "end")}
    for name, listed in commands.items():
        if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
            raise SigmaFeatureNotSupportedByBackendError(f"response: {name} is a list of commands")
        for place in (place for each in listed for place in _PLACE.findall(each)):
            if place not in VALUES:
                text = f"response: {{{place}}} is none of the values of a finding: {', '.join(VALUES)}"
                raise SigmaFeatureNotSupportedByBackendError(text)
    advice = given.get("advice", "")
    if not isinstance(advice, str):
        raise SigmaFeatureNotSupportedByBackendError("response: advice is a text")
    return Response(tuple(commands["extent"]), tuple(commands["end"]), " ".join(advice.split()))


def filled(commands: Sequence[str], values: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the commands with these values, quoted for a shell: callers choose some of them.

    A command is left out if a value of it is missing, or has characters that a terminal does not show.
    """
    found: list[str] = []
    for command in commands:
        places = list(dict.fromkeys(_PLACE.findall(command)))
        choices = [[value for value in values.get(place, ()) if value.isprintable()] for place in places]
        for chosen in list(product(*choices))[:MOST]:
            words = dict(zip(places, chosen, strict=True))
            found.append(" ".join(_word(word, words) for word in command.split()))
    return found


def _word(word: str, values: Mapping[str, str]) -> str:
    """The word with its values. It is quoted as a whole, since a value may have spaces."""
    text = _PLACE.sub(lambda found: values[found[1]], word)
    return text if text == word else shlex.quote(text)
