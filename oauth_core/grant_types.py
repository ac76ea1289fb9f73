"""The names of the grant types that the token endpoint knows (RFC 6749, RFC 8628, RFC 7523)."""

from __future__ import annotations

AUTHORIZATION_CODE = "authorization_code"
REFRESH_TOKEN = "refresh_token"
CLIENT_CREDENTIALS = "client_credentials"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"

OFFERED = (AUTHORIZATION_CODE, REFRESH_TOKEN, DEVICE_CODE, CLIENT_CREDENTIALS)
"""What clients may register for; the last only clients of the operator (`oauth_core.flows.client_credentials`)."""
