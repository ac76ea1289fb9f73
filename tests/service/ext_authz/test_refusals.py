"""Every row of the table of refusals at the check: the caller's answer, and the audit event."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ext_authz.decision import check
from oauth_core.policy import deny_response
from oauth_core.policy.decision import Deny
from oauth_core.refusals import Challenge, DenyReason
from tests.service.ext_authz.authorizers import Recorder, authorizer
from tests.support.check_messages import check_request, read_answer
from tests.support.tokens import mint

if TYPE_CHECKING:
    from oauth_core.jose.signing_keys import SigningKey

CHALLENGES = {
    Challenge.NONE: None,
    Challenge.WHERE: 'Bearer resource_metadata="',
    Challenge.TOKEN: 'Bearer error="{error}", error_description="{description}", resource_metadata="',
    Challenge.PROOF: 'DPoP algs="',
    Challenge.FORBIDDEN: 'Bearer error="{error}", error_description="{description}"',
}


@pytest.mark.parametrize("reason", sorted(DenyReason))
async def test_a_refused_request_gets_the_answer_of_its_row_and_the_audit_log_has_the_reason(
    key: SigningKey, monkeypatch: pytest.MonkeyPatch, reason: DenyReason
) -> None:
    sink = Recorder()
    subject = await authorizer(key, sink)
    monkeypatch.setattr(check, "decide", lambda _context: Deny(reason))
    answer = read_answer(await subject.check(check_request(token=mint(key))))
    row = reason.row
    description = row.description.format(detail=".")
    assert answer.status == row.status
    error = json.loads(answer.body)["error"]
    assert error["data"] == {"error": row.error, "error_description": description}
    assert error["code"] == (row.code or row.status)
    challenge, expected = answer.headers.get("www-authenticate"), CHALLENGES[row.challenge]
    assert (challenge is None) is (expected is None)
    if challenge is not None and expected is not None:
        assert challenge.startswith(expected.format(error=row.error, description=description))
    assert answer.headers.get("retry-after") == (None if row.retry_after is None else str(row.retry_after))
    assert answer.headers.get("allow") == row.allow
    (event,) = sink.events
    assert (event.kind, event.reason) == (row.audit, reason)


async def test_a_refusal_is_encoded_once_for_each_reason_and_service(
    key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = await authorizer(key, Recorder())
    made: list[DenyReason] = []
    encoder = deny_response.deny_response

    def counted(reason: DenyReason, *arguments: object) -> deny_response.DenyResponse:
        made.append(reason)
        return encoder(reason, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(check, "deny_response", counted)
    for reason in (DenyReason.REVOKED, DenyReason.EXPIRED, DenyReason.REVOKED, DenyReason.EXPIRED):
        monkeypatch.setattr(check, "decide", lambda _context, reason=reason: Deny(reason))
        answer = read_answer(await subject.check(check_request(token=mint(key))))
        assert answer.status == 401
    assert made == [DenyReason.REVOKED, DenyReason.EXPIRED]
