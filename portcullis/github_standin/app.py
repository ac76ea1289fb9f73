"""Assembles the stand-in, and sets the security headers of every answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Quart, Response, jsonify, render_template, request

from portcullis.github_standin import api, sign_in
from portcullis.github_standin.memory import Memory
from portcullis.github_standin.people import Changes
from portcullis.github_standin.settings import PREFIX

if TYPE_CHECKING:
    from pathlib import Path

    from werkzeug.exceptions import HTTPException

    from portcullis.github_standin.settings import StandinSettings

# No `form-action`: Chrome also applies it to the redirect after the form, and would stop the sign-in.
_POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'"
_LARGEST_BODY = 64 * 1024


def create_app(settings: StandinSettings, memory: Memory | None = None, changes: Path | None = None) -> Quart:
    """The stand-in as an ASGI application, everything below `/_github`.

    Tests pass `memory` to set its clock; `changes` is the file of `people.Changes`.
    """
    app = Quart(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _LARGEST_BODY
    app.config["BODY_TIMEOUT"] = 10
    memory = memory or Memory()
    app.register_blueprint(sign_in.blueprint(settings, memory), url_prefix=f"{PREFIX}/login/oauth")
    app.register_blueprint(api.blueprint("api", memory, Changes(changes)), url_prefix=PREFIX)
    app.register_blueprint(
        api.blueprint("enterprise_api", memory, Changes(changes)), url_prefix=f"{PREFIX}/api/v3"
    )

    @app.get(f"{PREFIX}/healthz")
    async def health() -> Response:
        return jsonify(status="ok")

    @app.get(f"{PREFIX}/style.css")
    async def style() -> Response:
        return Response(await render_template("style.css"), content_type="text/css; charset=utf-8")

    @app.errorhandler(400)
    @app.errorhandler(404)
    @app.errorhandler(405)
    @app.errorhandler(408)
    @app.errorhandler(413)
    async def failed(error: HTTPException) -> tuple[Response | str, int]:
        status = error.code or 500
        if "text/html" in request.headers.get("Accept", ""):
            return await render_template("problem.html", text=error.name), status
        return jsonify(message=error.name, status=str(status)), status

    @app.after_request
    async def protect(answer: Response) -> Response:
        answer.headers["Content-Security-Policy"] = _POLICY
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["X-Frame-Options"] = "DENY"
        # Not `no-referrer`: with it browsers send `Origin: null` on our own form.
        answer.headers["Referrer-Policy"] = "same-origin"
        answer.headers["Cache-Control"] = "no-store"
        return answer

    return app
