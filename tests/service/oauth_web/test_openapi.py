"""The endpoints against `docs/openapi.yaml`: tests send requests that it allows, and many that it does not."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from oauth_core.settings import WebSettings, load
from oauth_web.app import create_app
from oauth_web.grants.catalog import GRANT_TYPES
from oauth_web.runtime.deps import wire
from tests.support.oauth_client import REDIRECT_URI
from tests.support.project import ROOT
from tests.support.property_tests import examples

if TYPE_CHECKING:
    from tests.support.web_process import WebServer

PAGE = ROOT / "docs" / "openapi.yaml"
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
FOR_PEOPLE = "/account"
"""Below this are pages for people, which no program requests; the document leaves them out."""

schema = schemathesis.openapi.from_path(PAGE)
addresses = (f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1" for number in itertools.count())


@pytest.fixture(scope="module")
def known(web: WebServer) -> dict[str, str]:
    """The answer to a registration, so that some requests get past client authentication."""
    document = {
        "client_name": "Known client",
        "redirect_uris": [REDIRECT_URI],
        "token_endpoint_auth_method": "client_secret_post",
        "grant_types": ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"],
    }
    answer = httpx2.post(f"{web.issuer}/register", json=document)
    assert answer.status_code == 201
    registered: dict[str, str] = answer.json()
    return registered


@schema.parametrize()
@settings(examples(25), suppress_health_check=list(HealthCheck))
def test_every_answer_is_one_that_the_document_describes(
    case: schemathesis.Case[Any], web: WebServer, known: dict[str, str]
) -> None:
    # Each request has its own address, because rate limits are not the subject here.
    headers = {"X-Portcullis-Address": next(addresses)} | _by_somebody_known(case, known)
    answer = case.call(base_url=web.issuer, headers=headers, allow_redirects=False, timeout=60)
    assert answer.status_code < 500, answer.text
    assert "Traceback" not in answer.text
    case.validate_response(answer, checks=CHECKS)


def _by_somebody_known(case: schemathesis.Case[Any], known: dict[str, str]) -> dict[str, str]:
    """Give every other case that has a client id a registered one, and authenticate it.

    Return the headers for that.
    """
    for part in (case.query, case.body):
        if not isinstance(part, dict):
            continue
        named = part.get("client_id")
        if isinstance(named, str) and len(named) % 2:
            part["client_id"] = known["client_id"]
            if case.path == "/authorize":
                part["redirect_uri"] = REDIRECT_URI
            elif case.path != "/register":
                part["client_secret"] = known["client_secret"]
    managed = (case.path_parameters or {}).get("client_id")
    if case.method in {"GET", "PUT"} and isinstance(managed, str) and len(managed) % 2:
        case.path_parameters = {"client_id": known["client_id"]}
        return {"Authorization": f"Bearer {known['registration_access_token']}"}
    return {}


async def test_the_document_describes_exactly_the_endpoints(web: WebServer) -> None:
    deps = await wire(load(WebSettings, None, web.environment), GRANT_TYPES)
    app = create_app(deps)
    there = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    described = {
        (path, method)
        for path, item in schema.raw_schema["paths"].items()
        for method in item.keys() - {"parameters"}
    }
    await deps.aclose()
    assert described == {(path, method) for path, method in there if not path.startswith(FOR_PEOPLE)}
