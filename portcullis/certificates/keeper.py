"""Keeps a valid certificate in use: renews it before it expires, and tries again after failures."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

import structlog

from portcullis.certificates.authority import AuthorityError
from portcullis.certificates.schedule import renewal_time, retry_delay

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from portcullis.certificates.authority import Authority
    from portcullis.certificates.challenges import Challenges
    from portcullis.certificates.folder import Certificate, CertificateFolder

_SHORTEST_NAP = 0.02
"""As a fraction of the new certificate's lifetime."""

_LONGEST_NAP = 6 * 3600.0
"""Seconds; then the keeper asks the authority again for its suggested renewal time."""


class Keeper:
    """Obtains and renews the certificate for `names` in one folder."""

    def __init__(
        self, folder: CertificateFolder, authority: Authority, challenges: Challenges, names: Sequence[str]
    ) -> None:
        self._folder = folder
        self._authority = authority
        self._challenges = challenges
        self._names = tuple(names)
        self._failures = 0
        self._log = structlog.get_logger("acme")
        # Random, so that gateways which started together do not renew together.
        self._jitter = secrets.randbelow(1000) / 1000

    def run(self, stopping: threading.Event) -> None:
        """Run steps until `stopping` is set."""
        while not stopping.is_set():
            stopping.wait(self.step(time.time()))

    def step(self, now: float) -> float:
        """Renew the certificate if it is due at `now`; return the seconds until the next step."""
        certificate = self._folder.certificate()
        due = self._due(certificate)
        if now < due:
            return min(due - now, _LONGEST_NAP)
        try:
            fresh = self._authority.issue(self._names, self._challenges)
            if not self._covers(fresh):
                raise AuthorityError("the certificate lacks names that were asked for")
            self._folder.install(fresh)
        except (AuthorityError, OSError) as error:
            self._failures += 1
            delay = retry_delay(self._failures, certificate.validity if certificate else None)
            ends = None if certificate is None else certificate.validity.ends
            # The old certificate stays in use; its end shows how urgent the failure is.
            self._log.error("certificate.failed", error=str(error), next_try_in=round(delay), good_until=ends)
            return delay
        self._failures = 0
        self._log.info("certificate.issued", names=sorted(fresh.names), good_until=fresh.validity.ends)
        # Never at once, even if the authority's clock or its suggestion is wrong.
        return max(1.0, fresh.validity.seconds * _SHORTEST_NAP)

    def _due(self, certificate: Certificate | None) -> float:
        """The time of the next renewal; at once if no certificate matches the settings."""
        if certificate is None or not self._covers(certificate):
            return 0.0
        ours = renewal_time(certificate.validity, jitter=self._jitter)
        wished = self._authority.renewal_time(certificate)
        return ours if wished is None else min(wished, ours)

    def _covers(self, certificate: Certificate) -> bool:
        return certificate.names >= set(self._names)
