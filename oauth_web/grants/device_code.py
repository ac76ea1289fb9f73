"""The device grant: a device polls until its person decides, then gets tokens once (RFC 8628 section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from oauth_core.flows import device, token_requests
from oauth_core.grant_types import DEVICE_CODE, Registrable, any_client
from oauth_core.refusals import OAuthReason, refused
from oauth_web.client_auth.siblings import may_act_for
from oauth_web.grants.token_grant import NewGrant, TokenGrant

if TYPE_CHECKING:
    from oauth_core.model import Client
    from oauth_core.parameters import Parameters
    from oauth_core.policy.resources import ServiceIndex
    from oauth_core.store.clock import RedisClock
    from oauth_core.store.records.devices import DeviceStore, FoundDevice
    from oauth_web.client_documents.client_directory import ClientDirectory
    from oauth_web.runtime.deps import Deps

_MOST_TRIES = 5


@dataclass(frozen=True)
class _Poll:
    devices: DeviceStore
    clients: ClientDirectory
    services: ServiceIndex
    clock: RedisClock
    lifetime: int
    """The lifetime of a grant in seconds."""

    async def __call__(self, client: Client, form: Parameters) -> NewGrant:
        """Answer a poll. Raises `DisplayedError`; `authorization_pending` is the usual one."""
        device_code = form.require("device_code")
        for _ in range(_MOST_TRIES):
            found = await self.devices.by_device_code(device_code)
            # A client that presents another client's code learns nothing and costs its owner nothing.
            if found is None or not await may_act_for(self.clients, client, found.device.client_id):
                raise refused(OAuthReason.DEVICE_CODE_UNKNOWN)
            match device.poll(found.device, found.decision, found.pace, now=self.clock()):
                case device.Approved() as approved:
                    return await self._redeem(form, found, approved)
                case device.Denied():
                    raise refused(OAuthReason.DEVICE_DENIED)
                case device.Expired():
                    raise refused(OAuthReason.DEVICE_EXPIRED)
                case device.Pending(pace):
                    if await self.devices.keep_pace(found, pace):
                        raise refused(OAuthReason.DEVICE_PENDING)
                case device.TooFast(pace):
                    if await self.devices.keep_pace(found, pace):
                        break
                case unforeseen:
                    assert_never(unforeseen)
        # Also reached when other polls always came in between: then there were too many polls.
        raise refused(OAuthReason.DEVICE_TOO_FAST)

    async def _redeem(self, form: Parameters, found: FoundDevice, approved: device.Approved) -> NewGrant:
        # Checked before the code is used up, so that a wrong resource does not cost the sign-in.
        audience = token_requests.narrow_resources(found.device.resources, form, self.services)
        if not await self.devices.use_up(found):
            raise refused(OAuthReason.DEVICE_CODE_UNKNOWN)
        grant = device.grant_from(found.device, approved, now=self.clock(), lifetime=self.lifetime)
        scope = token_requests.scopes_at(grant.scopes, audience, self.services)
        return NewGrant(grant, audience, scope, allowed_at=approved.allowed_at)


def _handler(deps: Deps) -> _Poll:
    return _Poll(deps.devices, deps.clients, deps.services, deps.clock, deps.settings.refresh_token_lifetime)


def _metadata(issuer: str) -> dict[str, object]:
    """The endpoint at which a device starts (RFC 8628 section 4)."""
    return {"device_authorization_endpoint": f"{issuer}/device_authorization"}


GRANT_TYPE = TokenGrant(
    name=DEVICE_CODE,
    registrable=Registrable.BY_ANY_CLIENT,
    gives_refresh_token=True,
    rule=any_client,  # `/device_authorization` gives codes only to clients that registered for them
    metadata=_metadata,
    handler=_handler,
)
