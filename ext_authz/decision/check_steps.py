"""Check steps: which of several checks of one request this is, by an extension of the route.

A body that Envoy buffers costs memory, so it is not buffered before the headers are valid. The Envoy configuration
of this product asks up to three times, each time through its own filter:

1. `headers`: without the body. A valid token for a service without rules is allowed here. An invalid token is
   refused here. Both answers are final.
2. `refusal`: with the first bytes of the body, so that a refusal of a valid token contains the id of the request.
   A body of unknown length comes here too: Envoy refuses it later itself if it is too large, and needs the id.
3. without a step: with the whole body, if the service has rules.

The metadata of an answer name the next step, and Envoy skips the others. An Envoy that is configured differently
names no step and asks once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ext_authz.decision import envoy_messages
from ext_authz.decision.envoy_messages import BODY_BYTES
from oauth_core.refusals import DenyReason

if TYPE_CHECKING:
    from ext_authz.decision.envoy_messages import IncomingRequest
    from oauth_core.policy.decision import DecisionContext, Deny

_DIGITS = 20
"""More digits than any length has."""

STEP = "portcullis.step"
HEADERS, REFUSAL = "headers", "refusal"

WITH_BODY = envoy_messages.encode_continued("undecided")
"""Lets the request continue, unchanged, to the check that has its body."""
TO_REFUSAL = envoy_messages.encode_continued("refused")
"""Lets the request continue, unchanged, to the check that refuses it."""

_REFUSED_WITH_ID = frozenset(
    {
        DenyReason.FORBIDDEN_BY_POLICY,
        DenyReason.INSUFFICIENT_SCOPE,
        DenyReason.QUOTA_USED_UP,
        DenyReason.RATE_LIMITED,
        DenyReason.SERVICE_DISABLED,
        DenyReason.SERVICE_STATE_UNKNOWN,
        DenyReason.TOKEN_STATE_UNKNOWN,
        DenyReason.UNKNOWN_SESSION,
    }
)
"""The token is valid, so some bytes of its body may be read. With 401 clients do not read the body."""


def step_of(request: IncomingRequest) -> str | None:
    """Return the step that the route names."""
    return request.extensions.get(STEP) if request.extensions else None


def body_follows(request: IncomingRequest) -> bool:
    """Return whether a later check gets the whole body."""
    return bool(request.extensions) and BODY_BYTES in request.extensions and step_of(request) is not None


def is_too_large(request: IncomingRequest) -> bool:
    """Return whether `request` declares a body that is larger than a later check gets."""
    if request.http is None:
        return False
    length, most = request.http.headers.get("content-length", ""), request.extensions.get(BODY_BYTES, "")
    return length.isdecimal() and most.isdecimal() and len(length) < _DIGITS and int(length) > int(most)


def has_unknown_length(request: IncomingRequest) -> bool:
    """Return whether `request` has a body and does not declare its length."""
    return request.method == "POST" and request.http is not None and "content-length" not in request.http.headers


def is_before_body(request: IncomingRequest) -> bool:
    """Return whether this check must decide by the headers alone, because a later one gets the whole body.

    A body that is declared as too large gets no later check.
    """
    return body_follows(request) and (step_of(request) == HEADERS or not is_too_large(request))


def continues_to_refusal(deny: Deny, request: IncomingRequest, context: DecisionContext) -> bool:
    """Return whether the next check refuses with `deny`, because it has the id of the request."""
    if step_of(request) != HEADERS or request.method != "POST" or context.claims is None:
        return False
    # The check that reads a DPoP proof uses it up, so a second check could not decide the same. If the whole body
    # follows, only the last check reads the proof.
    is_repeatable = context.claims.dpop_key is None or body_follows(request)
    return deny.reason in _REFUSED_WITH_ID and is_repeatable
