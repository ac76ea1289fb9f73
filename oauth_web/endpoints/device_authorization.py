"""`/device_authorization`: a device without a browser gets codes to sign in with (RFC 8628 section 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from quart import Blueprint, Response

from oauth_core.audit import EventKind
from oauth_core.crypto.credentials import new_identifier
from oauth_core.flows import authorization, device
from oauth_core.grant_types import DEVICE_CODE, must_have_registered
from oauth_core.model import DeviceAuthorization
from oauth_core.store.keyspace import DEVICE_LIFETIME
from oauth_web.client_auth.authentication import authenticate_client
from oauth_web.http.client_addresses import caller_address
from oauth_web.http.responses import form_parameters, json_answer

if TYPE_CHECKING:
    from oauth_web.runtime.deps import Deps


def blueprint(deps: Deps) -> Blueprint:
    """The endpoint `/device_authorization`."""
    bp = Blueprint("device_authorization", __name__)
    settings = deps.settings
    page = f"{settings.issuer}/device"

    @bp.post("/device_authorization")
    async def start() -> Response:
        form = await form_parameters()
        form.check_unique()
        client = await authenticate_client(deps, form)
        must_have_registered(DEVICE_CODE, client)
        now = deps.clock()
        started = await deps.devices.add(
            DeviceAuthorization(
                grant_id=new_identifier(),
                client_id=client.client_id,
                created_at=now,
                expires_at=now + DEVICE_LIFETIME,
                **authorization.scope_and_audience(form, deps.services, settings.default_scopes),
            ),
            caller=caller_address(),
        )
        deps.audit.record(EventKind.DEVICE_STARTED, client_id=client.client_id)
        user_code = device.format_user_code(started.user_code)
        return json_answer(
            {
                "device_code": started.device_code,
                "user_code": user_code,
                "verification_uri": page,
                "verification_uri_complete": f"{page}?{urlencode({'user_code': user_code})}",
                "expires_in": DEVICE_LIFETIME,
                "interval": device.INTERVAL,
            }
        )

    return bp
