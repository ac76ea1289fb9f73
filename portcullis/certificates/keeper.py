"""Keeps a good certificate in place for as long as it runs: renews ahead of time, tries again after failures."""

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
"""As a part of the new certificate's life."""

_LONGEST_NAP = 6 * 3600.0
"""Seconds; then the authority is asked again when it would like us to renew."""


class Keeper:
    """Looks after the certificate for `names` in one folder."""

    def __init__(
        self, folder: CertificateFolder, authority: Authority, challenges: Challenges, names: Sequence[str]
    ) -> None:
        self._folder = folder
        self._authority = authority
        self._challenges = challenges
        self._names = tuple(names)
        self._failures = 0
        self._log = structlog.get_logger("acme")
        # So that gateways which started together do not renew together.
        self._luck = secrets.randbelow(1000) / 1000

    def keep(self, stopping: threading.Event) -> None:
        """Keep at it until `stopping` is set."""
        while not stopping.is_set():
            stopping.wait(self.step(time.time()))

    def step(self, now: float) -> float:
        """Do what is due at `now`, and answer in how many seconds to come again."""
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
            # The old certificate stays in use meanwhile; how long it is good says how urgent this is.
            self._log.error("certificate.failed", error=str(error), next_try_in=round(delay), good_until=ends)
            return delay
        self._failures = 0
        self._log.info("certificate.issued", names=sorted(fresh.names), good_until=fresh.validity.ends)
        # Never at once again, whatever the authority's clock or wishes are.
        return max(1.0, fresh.validity.seconds * _SHORTEST_NAP)

    def _due(self, certificate: Certificate | None) -> float:
        """When to get a new certificate; at once where there is none that fits the settings."""
        if certificate is None or not self._covers(certificate):
            return 0.0
        ours = renewal_time(certificate.validity, luck=self._luck)
        wished = self._authority.renewal_time(certificate)
        return ours if wished is None else min(wished, ours)

    def _covers(self, certificate: Certificate) -> bool:
        return certificate.names >= set(self._names)
