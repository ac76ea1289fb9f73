"""The stand-in's settings, and its refusal to run for an issuer on another machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from oauth_core.errors import SettingsError
from oauth_core.net.public_urls import check_public_url, is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "/_github"
"""The path of all pages and calls: the stand-in shares the issuer's host with the authorization server."""


@dataclass(frozen=True, slots=True)
class StandinSettings:
    """The issuer of the gateway, and the only GitHub app of the stand-in."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)


def read_settings(environ: Mapping[str, str]) -> StandinSettings:
    """Read `ISSUER`, `GITHUB_CLIENT_ID` and `GITHUB_CLIENT_SECRET` (or `GITHUB_CLIENT_SECRET_FILE`).

    Raises `SettingsError` when one is missing, or when the issuer is not a loopback address: at a public gateway
    every caller could sign in as any user.
    """
    faults: list[str] = []
    issuer = environ.get("ISSUER", "")
    if not issuer:
        faults.append("ISSUER is not set")
    elif not is_loopback(issuer):
        faults.append(
            f"the GitHub stand-in serves only a loopback issuer, not {issuer}: a caller can sign in as any user"
        )
    else:
        try:
            check_public_url(issuer, what="ISSUER")
        except ValueError as error:
            faults.append(str(error))
    client_id = environ.get("GITHUB_CLIENT_ID", "")
    if not client_id:
        faults.append("GITHUB_CLIENT_ID is not set")
    secret = environ.get("GITHUB_CLIENT_SECRET", "")
    if file := environ.get("GITHUB_CLIENT_SECRET_FILE"):
        try:
            secret = Path(file).read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            faults.append(f"GITHUB_CLIENT_SECRET_FILE: {file}: {getattr(error, 'strerror', None) or error}")
    if not secret:
        faults.append("GITHUB_CLIENT_SECRET is not set (nor a file in GITHUB_CLIENT_SECRET_FILE)")
    if faults:
        raise SettingsError(faults)
    return StandinSettings(issuer, client_id, secret)
