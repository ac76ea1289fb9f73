"""How commands take an identifier: a random one may begin with a hyphen, and must not be read as an option."""

from __future__ import annotations

from typing import Any

ANY_ID: dict[str, Any] = {"ignore_unknown_options": True, "help_option_names": ["--help"]}
"""For `context_settings` of a command whose argument is an identifier. `-h` could begin one, so `--help` it is."""
