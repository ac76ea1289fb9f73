"""Who may do what, as the settings file says it at this moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.policy.resources import ServiceIndex

if TYPE_CHECKING:
    from oauth_core.policy.rbac import RbacPolicy
    from oauth_core.settings import WebSettings


class LivePolicy:
    """The policy in use. Ask for `current` each time: it changes without a restart."""

    def __init__(self, policy: RbacPolicy, services: ServiceIndex) -> None:
        """`services` are changed with the policy, so that scopes of new permissions can be asked for."""
        self.current = policy
        self._services = services

    def use(self, settings: WebSettings) -> None:
        """From now on what these settings say counts."""
        self._services.become(ServiceIndex(settings.resolved_services))
        self.current = settings.policy
