"""The RBAC policy of the present settings file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.policy.resources import ServiceIndex

if TYPE_CHECKING:
    from oauth_core.policy.rbac import RbacPolicy
    from oauth_core.settings import WebSettings


class LivePolicy:
    """The policy in use. Read `current` each time: it changes without a restart."""

    def __init__(self, policy: RbacPolicy, services: ServiceIndex) -> None:
        """`services` change with the policy, so that clients can request the scopes of new permissions."""
        self.current = policy
        self._services = services

    def use(self, settings: WebSettings) -> None:
        """Use the services and the policy of `settings` from now on."""
        self._services.replace_with(ServiceIndex(settings.resolved_services))
        self.current = settings.policy
