"""Builds the application of the authorization server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Quart

from oauth_core.net.public_urls import path_of
from oauth_web.endpoints import (
    account,
    account_mail,
    authorize,
    callback,
    device,
    device_authorization,
    discovery,
    home,
    introspect,
    register,
    revoke,
    token,
)
from oauth_web.guards import recording, sign_in_pause
from oauth_web.http import errors, graceful_shutdown, request_times, security_headers
from oauth_web.login.membership_schedule import MembershipSchedule
from oauth_web.mail.sender import MailSender

if TYPE_CHECKING:
    from oauth_web.runtime.deps import Deps

_LARGEST_BODY = 64 * 1024
"""Bytes. The largest honest body is a registration with twenty redirect URIs."""


def create_app(deps: Deps) -> Quart:
    """The application, which uses `deps` until it shuts down."""
    app = Quart(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _LARGEST_BODY
    app.config["BODY_TIMEOUT"] = 10
    request_times.measure(app, deps.request_times)
    below = path_of(deps.settings.issuer)
    app.register_blueprint(home.blueprint(deps))
    app.register_blueprint(discovery.blueprint(deps))
    for endpoint in (register, authorize, device_authorization, device, callback, token):
        blueprint = endpoint.blueprint(deps)
        sign_in_pause.add_to(blueprint, deps)
        recording.add_to(blueprint, deps)
        app.register_blueprint(blueprint, url_prefix=below or None)
    for endpoint in (account, account_mail, revoke, introspect):
        app.register_blueprint(endpoint.blueprint(deps), url_prefix=below or None)
    app.jinja_env.globals["below"] = below
    errors.show_as_json(app)
    security_headers.add_to(app)
    graceful_shutdown.close_connections_at_shutdown(app, deps.shutdown)
    checks = MembershipSchedule(deps)
    sending = MailSender(deps.settings, deps.mails, deps.contacts, deps.leases, deps.clock)
    app.before_serving(deps.clock.start)
    app.before_serving(deps.keys.start)
    app.before_serving(checks.start)
    app.before_serving(sending.start)
    app.after_serving(checks.stop)
    app.after_serving(sending.stop)
    app.after_serving(deps.aclose)
    return app
