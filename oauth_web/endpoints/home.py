"""`/` describes the gateway to a visitor; `/healthz` reports to a supervisor whether this process works."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Blueprint, Response, render_template

from oauth_core.net.public_urls import path_of, well_known
from oauth_web.http.client_addresses import named_address
from oauth_web.http.responses import json_answer

if TYPE_CHECKING:
    from oauth_web.runtime.deps import Deps

_REACHED = {None: "untried", True: "reachable", False: "unreachable"}


def blueprint(deps: Deps) -> Blueprint:
    """The endpoints `/` and `/healthz`."""
    bp = Blueprint("home", __name__)

    issuer = deps.settings.issuer
    metadata = well_known(issuer, "oauth-authorization-server")

    @bp.get(f"{path_of(issuer)}/", strict_slashes=False)
    async def home() -> str:
        return await render_template("home.html", services=deps.services.services, metadata=path_of(metadata))

    # At the root of the host, independent of the issuer's path: supervisors need not know that path.

    @bp.get("/healthz")
    async def health() -> Response:
        """The status, and the facts that operators and `portcullis doctor` read here.

        `counted_address` is the address under which rate limits count this request. `client_documents` is whether
        this process could fetch the document of a well-known client at its last attempt.
        """
        deps.shutdown.record_health_check()
        if deps.shutdown.has_begun:
            return json_answer({"status": "draining"}, 503)
        if not await deps.keys.are_published():
            return json_answer({"status": "keys are not published"}, 503)
        return json_answer(
            {
                "status": "ok",
                "counted_address": named_address(),
                "client_documents": _REACHED[deps.documents.internet_access.is_open],
            }
        )

    return bp
