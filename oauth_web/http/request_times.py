"""Measures how long each endpoint takes, for the metrics.

The time begins when the head of a request has arrived, and ends when the answer is made. It includes the wait for
the request's body, which the caller decides, and not the time to send the answer. A request whose caller leaves
before the answer is not counted.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from quart import g, request

from oauth_core.process.metrics import Family, Histogram

if TYPE_CHECKING:
    from quart import Quart, Response

TIMES = Family("portcullis_http_requests_seconds", "histogram", "Time to answer, by endpoint and class of status.")
NO_ENDPOINT = "none"
"""The endpoint of a request with a path or a method that does not exist here."""

_EDGES = (0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0)


def request_times() -> Histogram:
    """Return the histogram that `measure` fills."""
    return Histogram(TIMES, ("endpoint", "status"), _EDGES)


def measure(app: Quart, times: Histogram) -> None:
    """Add the time of every answer of `app` to `times`. Call it before other functions are added to `app`."""

    @app.before_request
    async def begin() -> None:
        g.begun = perf_counter()

    @app.after_request
    async def end(answer: Response) -> Response:
        times.add(perf_counter() - g.begun, _name(request.endpoint), f"{answer.status_code // 100}xx")
        return answer


def _name(endpoint: str | None) -> str:
    """Return Quart's name of an endpoint, `token` in place of `token.token`."""
    if endpoint is None:
        return NO_ENDPOINT
    blueprint, _, function = endpoint.partition(".")
    return blueprint if blueprint == function else endpoint
