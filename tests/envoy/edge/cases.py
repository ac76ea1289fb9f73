"""All cases, in the order of the page."""

from __future__ import annotations

from tests.envoy.edge import header_cases, http2_cases, request_cases, web_cases
from tests.envoy.edge.framing_cases import FRAMING
from tests.envoy.edge.path_cases import PATHS

CASES = (
    *request_cases.ORIGIN,
    *request_cases.CORS,
    *request_cases.HOST,
    *request_cases.METHODS,
    *request_cases.TYPES,
    *request_cases.SIZES,
    *PATHS,
    *request_cases.SLOW,
    *request_cases.RATES,
    *FRAMING,
    *http2_cases.HTTP2,
    *header_cases.CREDENTIALS,
    *header_cases.HEADERS,
    *web_cases.CASES,
)
