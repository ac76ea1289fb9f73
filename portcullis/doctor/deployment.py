"""The doctor's checks of a gateway's deployment: its metadata, its Redis and the proxy in front."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.errors import StoreUnavailableError
from oauth_core.net.public_urls import origin_of
from portcullis.config_check.redis import UNSAID, check_redis
from portcullis.doctor.findings import Finding, Outcome, finding

if TYPE_CHECKING:
    from portcullis.doctor.forge import Forger
    from portcullis.doctor.gateway import Gateway

_FORGED_ADDRESS = "192.0.2.199"
"""From a range for documentation (RFC 5737), so that no caller has it."""


def describes_itself(gateway: Gateway) -> Finding:
    """Whether the metadata has this issuer, S256 alone and `iss` in authorization responses."""
    metadata = gateway.metadata
    faults = [
        fault
        for fault, wrong in {
            f"issuer is {metadata.get('issuer')!r}": metadata.get("issuer") != gateway.issuer,
            "PKCE is not S256 alone": metadata.get("code_challenge_methods_supported") != ["S256"],
            "no iss in authorization responses": not metadata.get(
                "authorization_response_iss_parameter_supported"
            ),
        }.items()
        if wrong
    ]
    return finding("the authorization server's metadata matches its address", not faults, "; ".join(faults))


async def keeps_records(forger: Forger | None) -> Finding:
    """Run the Redis checks of `config check` against the Redis of the running gateway."""
    claim = "Redis keeps records through a restart, and evicts none"
    if forger is None:
        return Finding(claim, Outcome.UNTRIED, "set MASTER_KEY and REDIS_URL as for oauth_web to ask it")
    try:
        advice = await check_redis(forger.settings)
    except StoreUnavailableError as error:
        return Finding(claim, Outcome.UNTRIED, str(error))
    wrong = [item.text for item in advice if item.kind == "unsafe"]
    unsaid = [item.text for item in advice if item.text in UNSAID]
    if unsaid and not wrong:
        return Finding(claim, Outcome.UNTRIED, "; ".join(unsaid))
    return finding(claim, not wrong, "; ".join(wrong))


_REMEDY = (
    'set documents = "pinned" in the table [clients] (docs/settings.md, "Without internet access"), or '
    "let oauth_web reach port 443 outside"
)


async def counts_addresses(gateway: Gateway) -> Finding:
    """Whether the proxy sends the caller's address to the authorization server and removes the caller's header."""
    claim = "the authorization server counts callers by their own address"
    forged = {"X-Portcullis-Address": _FORGED_ADDRESS}
    try:
        document = (await gateway.http.get(f"{origin_of(gateway.issuer)}/healthz", headers=forged)).json()
        counted = document["counted_address"]
    except (ValueError, KeyError, TypeError):
        return Finding(claim, Outcome.BROKEN, "/healthz does not return the address by which callers are counted")
    if counted is None:
        return Finding(
            claim,
            Outcome.BROKEN,
            "the proxy sets no X-Portcullis-Address, so all callers share one address' limits",
        )
    if counted == _FORGED_ADDRESS:
        return Finding(claim, Outcome.BROKEN, "callers choose it with their own header X-Portcullis-Address")
    return Finding(claim, Outcome.HOLDS, f"this call is counted as {counted}")


async def reaches_client_documents(gateway: Gateway) -> Finding:
    """Whether clients with a metadata document can sign in, by the gateway's last fetch of a document."""
    claim = "documents of well-known clients can be fetched, or need not be"
    try:
        reached = (await gateway.http.get(f"{origin_of(gateway.issuer)}/healthz")).json()["client_documents"]
    except (ValueError, KeyError, TypeError):
        return Finding(claim, Outcome.BROKEN, "/healthz does not return whether clients' documents can be fetched")
    remedy = f"; {_REMEDY}" if reached == "unreachable" else ""
    return finding(claim, reached != "unreachable", f"{reached}{remedy}")
