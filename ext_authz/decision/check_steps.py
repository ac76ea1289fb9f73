"""Which of several checks of one request this is, as the route tells it.

A body that Envoy holds costs memory, so it is not held before the headers are good. Our own Envoy configuration
asks up to three times, each time through a filter of its own:

1. `headers`: without the body. A token that is good for a service without rules is let through here, for good. One
   that is bad is refused here, for good.
2. `refusal`: with the first bytes of the body, to refuse with the id of the request what comes with a good token.
   A body of unknown length comes here too: Envoy refuses it later by itself if it is too large, and then needs
   the id.
3. without a step: with the whole body, where the service has rules.

The metadata of an answer say which one is next, and Envoy skips the others. An Envoy that is set up in another way
names no step and asks once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ext_authz.decision import envoy_messages
from oauth_core.refusals import DenyReason

if TYPE_CHECKING:
    from ext_authz.decision.envoy_messages import IncomingRequest
    from oauth_core.policy.decision import DecisionContext, Deny

_DIGITS = 20
"""More than any length has."""

STEP = "portcullis.step"
HEADERS, REFUSAL = "headers", "refusal"
BODY_BYTES = "portcullis.body_bytes"
"""Context extension: that a check with the whole body follows, and how large a body that may be."""

WITH_BODY = envoy_messages.encode_continued("undecided")
"""Let the request go on, unchanged, to the check that has its body."""
TO_REFUSAL = envoy_messages.encode_continued("refused")
"""Let the request go on, unchanged, to the check that refuses it."""

_REFUSED_WITH_ID = frozenset(
    {
        DenyReason.FORBIDDEN_BY_POLICY,
        DenyReason.INSUFFICIENT_SCOPE,
        DenyReason.SERVICE_ISOLATED,
        DenyReason.SERVICE_STATE_UNKNOWN,
        DenyReason.TOKEN_STATE_UNKNOWN,
    }
)
"""A token is good, so its owner may have some bytes of a body read. With 401 clients do not look at the body."""


def of(request: IncomingRequest) -> str | None:
    """The step that the route names."""
    return request.extensions.get(STEP) if request.extensions else None


def body_follows(request: IncomingRequest) -> bool:
    """Whether the whole body comes to a later check."""
    return bool(request.extensions) and BODY_BYTES in request.extensions and of(request) is not None


def is_too_large(request: IncomingRequest) -> bool:
    """Whether `request` says itself that its body is larger than a later check gets."""
    if request.http is None:
        return False
    length, most = request.http.headers.get("content-length", ""), request.extensions.get(BODY_BYTES, "")
    return length.isdecimal() and most.isdecimal() and len(length) < _DIGITS and int(length) > int(most)


def has_unknown_length(request: IncomingRequest) -> bool:
    """Whether `request` has a body and does not say how long it is."""
    return request.method == "POST" and request.http is not None and "content-length" not in request.http.headers


def is_before_body(request: IncomingRequest) -> bool:
    """Whether this check has to decide by the headers alone, because a later one gets the whole body.

    A body that says that it is too large comes to no later check.
    """
    return body_follows(request) and (of(request) == HEADERS or not is_too_large(request))


def goes_on_to_refusal(denial: Deny, request: IncomingRequest, context: DecisionContext) -> bool:
    """Whether the next check refuses with `denial`, because it has the id of the request."""
    if of(request) != HEADERS or request.method != "POST" or context.claims is None:
        return False
    # A DPoP proof is used up by the check that reads it, so a second check could not decide the same. Where the
    # whole body follows, only the last check reads the proof.
    is_repeatable = context.claims.dpop_key is None or body_follows(request)
    return denial.reason in _REFUSED_WITH_ID and is_repeatable
