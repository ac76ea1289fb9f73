"""When to renew, and when to try again after a failure. Pure: the time and the luck are arguments.

Times are seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

_RENEW_AT = 2 / 3
_JITTER = 0.1
_FIRST_RETRY = 60.0
_LAST_RETRY = 3600.0
_RETRY_AT_LEAST = 0.1
"""As a part of a certificate's life."""


@dataclass(frozen=True, slots=True)
class Validity:
    """From when to when a certificate is good."""

    begins: float
    ends: float

    @property
    def seconds(self) -> float:
        """How long that is."""
        return self.ends - self.begins

    def is_good(self, now: float) -> bool:
        """Whether the certificate is good at `now`."""
        return self.begins <= now < self.ends


def renewal_time(validity: Validity, *, luck: float) -> float:
    """When to renew: at two thirds of the certificate's life, or up to a tenth of it sooner.

    `luck` is between 0 and 1, drawn once for a certificate. It spreads many gateways out, so that they do not all
    come to the authority at once.
    """
    return validity.begins + validity.seconds * (_RENEW_AT - _JITTER * luck)


def retry_delay(failures: int, validity: Validity | None) -> float:
    """How long to wait after `failures` failures in a row: from a minute, doubling, up to an hour.

    Authorities limit failed attempts, so more often would make it worse. A certificate that lives only for minutes
    is tried for ten times in its life, once a second at most.
    """
    usual: float = min(_FIRST_RETRY * 2.0 ** min(failures - 1, 16), _LAST_RETRY)
    return usual if validity is None else max(1.0, min(usual, validity.seconds * _RETRY_AT_LEAST))
