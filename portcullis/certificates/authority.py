"""A client of an ACME authority (RFC 8555): account, order, HTTP-01 proof, certificate."""

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
    """The authority gives no certificate now. The message has the reason, and may be logged."""


class Authority:
    """One account at one authority."""

    def __init__(self, directory: str, *, account_key: str, email: str, ca_file: Path | None) -> None:
        """`directory` is the authority's URL (RFC 8555 section 7.1.1). `ca_file` has the certificate authorities
        for that URL, if not the public ones. The e-mail address accepts the authority's terms.
        """
        self._directory = directory
        self._key = JWKEC(key=serialization.load_pem_private_key(account_key.encode(), None))
        self._email = email
        self._ca_file = ca_file

    def issue(self, names: Sequence[str], challenges: Challenges) -> Certificate:
        """A new certificate, with a new key, for `names`. Raises `AuthorityError`. Takes two minutes at most."""
        key = new_private_key()
        deadline = datetime.now() + timedelta(seconds=_ORDER_SECONDS)  # noqa: DTZ005 - as the library requires
        with _authority_errors():
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
        """The authority's suggested time to renew `certificate`, or `None` without one (RFC 9773)."""
        try:
            with _authority_errors():
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
            network.verify_ssl = str(self._ca_file)  # type: ignore[assignment]  # passed to requests, which accepts it
        return network

    def _read_directory(self, network: client.ClientNetwork) -> messages.Directory:
        return client.ClientV2.get_directory(self._directory, network)

    def _sign_in(self) -> client.ClientV2:
        """Sign in to the account of our key, and create it if it does not exist."""
        network = self._network()
        acme = client.ClientV2(self._read_directory(network), network)
        asked = messages.NewRegistration.from_data(email=self._email, terms_of_service_agreed=True)
        try:
            acme.new_account(asked)
        except errors.ConflictError as error:
            # The account exists.
            network.account = messages.RegistrationResource(uri=error.location, body=messages.Registration())
        return acme

    def _answers(self, order: messages.OrderResource) -> dict[str, str]:
        """The answers that the authority reads on port 80, by token."""
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
def _authority_errors() -> Iterator[None]:
    """Convert every error of an authority to `AuthorityError`."""
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
