"""The times of renewals, and of retries after a failure. Pure: the time and the random number are arguments.

Times are seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

_RENEW_AT = 2 / 3
_JITTER = 0.1
_FIRST_RETRY = 60.0
_LAST_RETRY = 3600.0
_RETRY_AT_LEAST = 0.1
"""As a fraction of a certificate's lifetime."""


@dataclass(frozen=True, slots=True)
class Validity:
    """The time from `begins` to `ends` in which a certificate is valid."""

    begins: float
    ends: float

    @property
    def seconds(self) -> float:
        """The length of that time."""
        return self.ends - self.begins

    def is_good(self, now: float) -> bool:
        """Whether the certificate is valid at `now`."""
        return self.begins <= now < self.ends


def renewal_time(validity: Validity, *, jitter: float) -> float:
    """The time of renewal: at two thirds of the certificate's lifetime, or up to a tenth of it sooner.

    `jitter` is a random number between 0 and 1, drawn once for a keeper. It spreads many gateways out, so that
    they do not all call the authority at once.
    """
    return validity.begins + validity.seconds * (_RENEW_AT - _JITTER * jitter)


def retry_delay(failures: int, validity: Validity | None) -> float:
    """The seconds to wait after `failures` failures in a row: from a minute, doubling, up to an hour.

    Authorities limit failed attempts, so shorter waits would make it worse. For a certificate that is valid only
    for minutes, there are ten attempts in its lifetime, and at most one a second.
    """
    usual: float = min(_FIRST_RETRY * 2.0 ** min(failures - 1, 16), _LAST_RETRY)
    return usual if validity is None else max(1.0, min(usual, validity.seconds * _RETRY_AT_LEAST))
