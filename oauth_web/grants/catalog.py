"""The list of all grant types: the token endpoint, registration and metadata depend on it.

A new grant type is one module with its `GRANT_TYPE`, and one line here. `oauth_core.grant_types` has the form of
`GRANT_TYPE`. Metadata and registrations name the grant types in this order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_web.grants import authorization_code, client_credentials, device_code, id_jag, refresh_token

if TYPE_CHECKING:
    from oauth_web.grants.token_grant import TokenGrant

GRANT_TYPES: tuple[TokenGrant, ...] = (
    authorization_code.GRANT_TYPE,
    refresh_token.GRANT_TYPE,
    device_code.GRANT_TYPE,
    client_credentials.GRANT_TYPE,
    id_jag.GRANT_TYPE,
)
