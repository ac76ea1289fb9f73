"""The settings of trusted issuers: which identity providers vouch for which people, to which clients."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from oauth_core.flows.id_jag import TrustedIssuer
from oauth_core.model import User
from oauth_core.net import fetchable_urls
from oauth_core.net.public_urls import is_loopback
from oauth_core.settings.definitions import Setting

_LONGEST = 2048

Text = Annotated[str, Field(min_length=1, max_length=_LONGEST)]


class AssertedUser(BaseModel):
    """The GitHub account of a subject of an identity provider."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    github_id: Annotated[
        int,
        Setting("The number of the GitHub account."),
    ] = Field(gt=0, strict=True)
    github_user: Annotated[
        str,
        Setting("The GitHub login."),
    ] = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")


class TrustedIssuerSettings(BaseModel):
    """One `[[trusted_issuers]]` table."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    issuer: Annotated[
        Text,
        Setting(
            "The name of the issuer, byte for byte as in `iss`: some end in a slash.",
            standard="RFC 7523 section 3",
        ),
    ]
    clients: Annotated[
        tuple[Text, ...],
        Field(min_length=1),
        Setting("The clients that it may vouch for people to, by their `client_id`. They must authenticate."),
    ]
    jwks_uri: Annotated[
        Text | None,
        Setting(
            "Where its keys are. Fetched with the same guards as clients' documents: no private addresses, no "
            "redirects."
        ),
    ] = None
    jwks_file: Annotated[
        Path | None,
        Setting("Instead of `jwks_uri`: a JWK set in a file, read at the start."),
    ] = None
    tenant: Annotated[
        Text | None,
        Setting(
            "The only tenant of a shared issuer that is trusted. Without it, assertions that name a tenant are "
            "refused."
        ),
    ] = None
    users: Annotated[
        dict[Text, AssertedUser],
        Setting("The GitHub account of each subject (`sub`): its number and its login."),
    ] = Field(default_factory=dict)
    github_id_claim: Annotated[
        Text | None,
        Setting("For subjects that `users` does not list: the claim with the number of their GitHub account."),
    ] = None
    github_user_claim: Annotated[
        Text | None,
        Setting("The claim with the login of the account. It goes with `github_id_claim`."),
    ] = None

    @model_validator(mode="after")
    def _usable(self) -> TrustedIssuerSettings:
        # Our own URLs have one spelling. Other issuers may end theirs in a slash, and all compare byte for byte.
        parts = urlsplit(self.issuer)
        if not parts.hostname or parts.query or parts.fragment or not self.issuer.isprintable():
            raise ValueError("issuer must be a URL without query and fragment")
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(self.issuer)):
            raise ValueError("issuer must use https")
        if (self.jwks_uri is None) == (self.jwks_file is None):
            raise ValueError("needs exactly one of jwks_uri and jwks_file")
        if self.jwks_uri is not None:
            fetchable_urls.check(self.jwks_uri, what="jwks_uri", loopback=True)
        if (self.github_id_claim is None) != (self.github_user_claim is None):
            raise ValueError("github_id_claim and github_user_claim belong together: the one may not stand alone")
        if not self.users and self.github_id_claim is None:
            raise ValueError("needs users, or github_id_claim and github_user_claim: else nobody is known by it")
        return self

    @property
    def resolved(self) -> TrustedIssuer:
        """The issuer of this table."""
        return TrustedIssuer(
            issuer=self.issuer,
            clients=frozenset(self.clients),
            jwks_uri=self.jwks_uri,
            jwks_file=self.jwks_file,
            tenant=self.tenant,
            users={name: User(user.github_id, user.github_user) for name, user in self.users.items()},
            github_id_claim=self.github_id_claim,
            github_user_claim=self.github_user_claim,
        )
