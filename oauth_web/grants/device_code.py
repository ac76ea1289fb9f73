"""The device grant: a device polls until its person has decided, then gets tokens once (RFC 8628 section 3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from oauth_core.errors import DisplayedError, ErrorCode
from oauth_core.flows import device, token_requests
from oauth_web.client_auth.siblings import may_act_for
from oauth_web.grants.issuing import begin_grant, invalid_grant

if TYPE_CHECKING:
    from quart import Response

    from oauth_core.model import Client
    from oauth_core.parameters import Parameters
    from oauth_core.store.records.devices import FoundDevice
    from oauth_web.runtime.deps import Deps

_MOST_TRIES = 5


async def poll(deps: Deps, client: Client, form: Parameters) -> Response:
    """Answer a device. Raises `DisplayedError`, of which `authorization_pending` is the ordinary one."""
    device_code = form.require("device_code")
    for _ in range(_MOST_TRIES):
        found = await deps.devices.by_device_code(device_code)
        # Somebody else's code is told nothing, and costs its owner nothing.
        if found is None or not await may_act_for(deps, client, found.device.client_id):
            raise invalid_grant("the device code is unknown or was used")
        match device.poll(found.device, found.decision, found.pace, now=deps.clock()):
            case device.Approved() as approved:
                return await _redeem(deps, client, form, found, approved)
            case device.Denied():
                raise DisplayedError(ErrorCode.ACCESS_DENIED, "the user did not allow it")
            case device.Expired():
                raise DisplayedError(ErrorCode.EXPIRED_TOKEN, "nobody decided in time; start again")
            case device.Pending(pace):
                if await deps.devices.keep_pace(found, pace):
                    raise DisplayedError(ErrorCode.AUTHORIZATION_PENDING, "the user has not decided yet")
            case device.TooFast(pace):
                if await deps.devices.keep_pace(found, pace):
                    break
            case unforeseen:
                assert_never(unforeseen)
    # Also when other polls kept coming between: then there were too many by any measure.
    raise DisplayedError(ErrorCode.SLOW_DOWN, "wait five seconds longer between polls from now on")


async def _redeem(
    deps: Deps, client: Client, form: Parameters, found: FoundDevice, approved: device.Approved
) -> Response:
    # Looked at before the code is used up, so that a wrong resource does not cost the sign-in.
    audience = token_requests.narrow_resources(found.device.resources, form, deps.services)
    if not await deps.devices.use_up(found):
        raise invalid_grant("the device code is unknown or was used")
    lifetime = deps.settings.refresh_token_lifetime
    grant = device.grant_from(found.device, approved, now=deps.clock(), lifetime=lifetime)
    return await begin_grant(deps, client, grant, audience=audience, allowed_at=approved.allowed_at)
