"""The path of the project on this machine."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The root folder of the project, with `pyproject.toml`."""
