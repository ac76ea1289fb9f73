"""The conversation with an ACME authority (RFC 8555): account, order, HTTP-01 proof, certificate."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING

import requests
from acme import challenges as acme_challenges
from acme import client, errors, messages
from cryptography.hazmat.primitives import serialization
from josepy.errors import DeserializationError
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from portcullis.certificates.folder import Certificate
from portcullis.certificates.keys import new_private_key, signing_request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from portcullis.certificates.challenges import Challenges

_CALL_SECONDS = 30
_ORDER_SECONDS = 120


class AuthorityError(Exception):
    """There is no certificate to be had now. The message says why, and is fit for a log."""


class Authority:
    """One account at one authority."""

    def __init__(self, directory: str, *, account_key: str, email: str, ca_file: Path | None) -> None:
        """`directory` is the authority's URL (RFC 8555 section 7.1.1). `ca_file` names the authorities that may
        vouch for it, if not those that everybody trusts. Giving an e-mail address agrees to its terms.
        """
        self._directory = directory
        self._key = JWKEC(key=serialization.load_pem_private_key(account_key.encode(), None))
        self._email = email
        self._ca_file = ca_file

    def issue(self, names: Sequence[str], challenges: Challenges) -> Certificate:
        """A new certificate, with a new key, for `names`. Raises `AuthorityError`. Takes two minutes at most."""
        key = new_private_key()
        deadline = datetime.now() + timedelta(seconds=_ORDER_SECONDS)  # noqa: DTZ005 - as the library wants it
        with _told():
            acme = self._sign_in()
            order = acme.new_order(signing_request(key, names))
            with challenges.expecting(self._answers(order)):
                for authorization in order.authorizations:
                    if authorization.body.status == messages.STATUS_PENDING:
                        chosen = _http_challenge(authorization)
                        acme.answer_challenge(chosen, chosen.response(self._key))
                order = acme.poll_and_finalize(order, deadline)
            return Certificate.read(key + order.fullchain_pem)

    def renewal_time(self, certificate: Certificate) -> float | None:
        """When the authority would like `certificate` to be renewed, if it says so (RFC 9773)."""
        try:
            with _told():
                acme = client.ClientV2(self._read_directory(network := self._network()), network)
                wished, _ = acme.renewal_time(certificate.chain.encode())
        except AuthorityError:
            return None
        return None if wished is None else wished.timestamp()

    def _network(self) -> client.ClientNetwork:
        network = client.ClientNetwork(
            self._key,
            alg=ES256,
            user_agent=f"portcullis/{version('mcp-portcullis')}",
            timeout=_CALL_SECONDS,
        )
        if self._ca_file is not None:
            network.verify_ssl = str(self._ca_file)  # type: ignore[assignment]  # handed on to requests, which takes it
        return network

    def _read_directory(self, network: client.ClientNetwork) -> messages.Directory:
        return client.ClientV2.get_directory(self._directory, network)

    def _sign_in(self) -> client.ClientV2:
        """The account; made when the authority does not know our key yet."""
        network = self._network()
        acme = client.ClientV2(self._read_directory(network), network)
        asked = messages.NewRegistration.from_data(email=self._email, terms_of_service_agreed=True)
        try:
            acme.new_account(asked)
        except errors.ConflictError as error:
            # It is ours already.
            network.account = messages.RegistrationResource(uri=error.location, body=messages.Registration())
        return acme

    def _answers(self, order: messages.OrderResource) -> dict[str, str]:
        """What the authority will want to read on port 80, by token."""
        answers = {}
        for authorization in order.authorizations:
            if authorization.body.status == messages.STATUS_PENDING:
                challenge = _http_challenge(authorization)
                answers[challenge.chall.encode("token")] = challenge.chall.validation(self._key)
        return answers


def _http_challenge(authorization: messages.AuthorizationResource) -> messages.ChallengeBody:
    for challenge in authorization.body.challenges:
        if isinstance(challenge.chall, acme_challenges.HTTP01):
            return challenge
    raise AuthorityError(f"the authority offers no HTTP-01 for {authorization.body.identifier.value}")


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn whatever can go wrong with an authority into words."""
    try:
        yield
    except errors.ValidationError as error:
        raise AuthorityError(_why_invalid(error)) from None
    except messages.Error as error:
        raise AuthorityError(f"the authority refuses: {error.typ} {error.detail or ''}".rstrip()) from None
    except errors.TimeoutError:
        raise AuthorityError("the authority did not finish in time") from None
    except (errors.Error, requests.RequestException, DeserializationError, ValueError) as error:
        raise AuthorityError(f"{type(error).__name__}: {error}") from None


def _why_invalid(error: errors.ValidationError) -> str:
    reasons = [
        f"{authorization.body.identifier.value}: {challenge.error.detail}"
        for authorization in error.failed_authzrs
        for challenge in authorization.body.challenges
        if challenge.error is not None
    ]
    return f"the authority could not verify {'; '.join(reasons)}"
