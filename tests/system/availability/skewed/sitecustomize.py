"""Shifts the clock of a Python program by `SKEW` seconds: on `PYTHONPATH`, it is imported before anything else."""

import os
import time

_right = time.time
_SKEW = float(os.environ.get("SKEW", "0"))


def _wrong() -> float:
    return _right() + _SKEW


time.time = _wrong
