"""Click settings for identifiers: a random one may begin with a hyphen, and must not be read as an option."""

from __future__ import annotations

from typing import Any

ANY_ID: dict[str, Any] = {"ignore_unknown_options": True, "help_option_names": ["--help"]}
"""`context_settings` of a command whose argument is an identifier. It could begin with `-h`, so help is
`--help`.
"""
