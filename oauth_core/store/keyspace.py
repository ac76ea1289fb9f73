"""Every key in Redis, what its value is and how long it lives. No other module spells a key.

| key | value | lives |
|---|---|---|
| `client:<id>` | a `Client`, JSON | unused an hour, then see `records.client_lifetimes` |
| `initial-access-token:<id>` | hash: `record` (an `InitialAccessToken`), `left` (uses) | itself, or its uses |
| `document:<hash>` | hash: `body` (what a client publishes), `fetched_at`, `fresh_until` | as a client |
| `document-failed:<hash>` | why it could not be had a moment ago, JSON | some seconds |
| `document-fetches:<hash>` | how often its host was asked lately | a minute |
| `assertion:<hash>` | that a client, or who had it from a provider, used it | the assertion |
| `pending:<hash>` | a `PendingAuthorization`, JSON | `session_timeout` |
| `signin:<hash>` | a `SignIn`, JSON | `session_timeout` |
| `answer:<hash>` | a `MadeOnce`, JSON: the sealed answer to a form or to GitHub's return | half a minute |
| `code:<hash>` | hash: `record` (an `AuthorizationCode`, JSON), `used`, `replayed` | 60 s; 600 s once used |
| `device:<hash>` | hash: `record` (a `DeviceAuthorization`), `pace`, `decision`, JSON | twenty minutes |
| `device-code:<hash of the user code>` | the hash of the device code | ten minutes |
| `device-attempts:<hash>` | user codes that this browser, or this address, tried | ten minutes from the first |
| `device-attempts` | user codes that addresses tried after their first ones | a minute from the first |
| `device-first-attempts` | user codes that addresses tried first | a minute from the first |
| `grant:{<id>}` | hash: `record` (a `Grant`, JSON), refresh token state | the refresh token |
| `grant:{<id>}:tokens` | sorted set: `jti` by expiry | as its grant |
| `ended:client:<id>` | `1`: the same of a client | as the client would, `backup_days` at most |
| `ended:invite:<id>` | `1`: the same of an initial access token | as the token would |
| `ended:consents:<GitHub id>` | `1`: this person wants to be asked about a client again | a year |
| `ended:key:<id>` | `1`: the same of a signing key | five years |
| `paused` | why nobody can sign in at the moment | until an operator resumes |
| `ended:{<id>}` | `1`: a grant was ended; no backup brings it back | as the grant, `backup_days` at most |
| `client-grants:<id>` | sorted set: ids of the grants of a client by expiry | as long as the longest of them |
| `sibling-grants:<id>` | sorted set: the same of those of its siblings that it uses | as the longest of them |
| `session:<hash>` | a `Session`, JSON | `session_idle_lifetime` after its last use, `session_lifetime` at most |
| `user-sessions:<GitHub id>` | sorted set: hashes of a person's sessions by expiry | as the longest of them |
| `consents:<GitHub id>` | hash: a `RememberedConsent`, JSON, for each client | as the longest of them |
| `user-grants:<GitHub id>` | sorted set: ids of a person's grants by expiry | as long as the longest of them |
| `login:<login>` | the GitHub id that a listed login means | for ever; an operator may change it |
| `user:<GitHub id>` | a `KnownUser`, JSON | the refresh token, from their last sign-in |
| `block:<GitHub id>` | a `Block`, JSON | until an operator lifts it |
| `cut:user:<GitHub id>` | the second up to which what a person allowed is void, their sessions too | five years |
| `cut:clients-of:<GitHub id>` | the same, but for their sessions | five years |
| `cut:unredeemed:<GitHub id>:<client>` | the second up to which codes and devices of a client are void | an hour |
| `cut:client:<id>` | the same of what a client was allowed | five years |
| `cut:all` | the same of everything | five years |
| `rate:<limit>:<hash>` | when what one subject asked for is worked off, in microseconds | until then |
| `stored:{<kind>}` | hash: bytes that strangers had us write, by the second of their end | the longest of them |
| `stored:{<kind>}:<caller hash>` | the same of one caller | the longest of them |
| `token:<jti>` | the grant's id | the access token |
| `lease:<work>` | the process that does it for all | a minute, again and again |
| `lease-rest:<work>` | the rules under which it was done last | until it is due again |
| `keyring` | the signing keys, private parts under AES-256-GCM, JSON | for ever |
| `signed-jwks` | the public keys, a signed JWK set | for ever |
| `jwks` | the same without a signature, for check services of the version before | for ever |
| `isolated-services` | services that an operator took out, and why, JSON | until all are back |
| `signed-jwks-copy:<number>` | the same as `signed-jwks`, on other nodes of a cluster | for ever |
| `isolated-services-copy:<number>` | the same as `isolated-services`, on other nodes of a cluster | for ever |
| `replicated`, `replicated:<number>` | nothing: whether replicas have it is what counts | a minute |
| `schema` | the version of all this (`maintenance.schema`), or that a backup is being restored | for ever |

`token:<jti>` exists or the token is dead: an operator's plain `DEL` revokes it. Keys that one atomic step
touches share a hash tag (the braces), so that Redis Cluster keeps them on one node. Parts that a caller sent
arrive here hashed or as identifiers of our own making, never raw.

Taking rights away works in a Redis that is at its `maxmemory`. Redis then refuses commands that may grow, but not
`DEL` and the like, and a script whose first write was let through may write on. So a script that takes something
away and must note it (a cut, a block, what was ended) deletes first. Such notes are some hundred bytes each.
"""

from __future__ import annotations

from oauth_core.crypto.credentials import hash_secret, is_identifier

KEYRING = "keyring"
JWKS = "signed-jwks"
PLAIN_JWKS = "jwks"
ISOLATED_SERVICES = "isolated-services"
SCHEMA = "schema"
PAUSED = "paused"
REPLICATION_MARK = "replicated"
REPLICATION_MARK_LIFETIME = 60
"""Seconds."""

CUTOFF_OF_ALL = "cut:all"
DEVICE_ATTEMPTS = "device-attempts"
DEVICE_FIRST_ATTEMPTS = "device-first-attempts"
ALL_CLIENTS = "client:*"
"""Pattern of every registered client's key; `client` would take a pattern for an id and hash it."""

OLD_REGISTRATIONS = "registration:*"
"""Pattern of keys that earlier versions wrote; `oauth_core.store.maintenance.schema` deletes them."""

ALL_INITIAL_ACCESS_TOKENS = "initial-access-token:*"
ALL_GRANTS = "grant:{*}"
ALL_USERS = "user:*"
ALL_BLOCKS = "block:*"
ALL_CUTOFFS = "cut:*"
ALL_USER_GRANTS = "user-grants:*"
ALL_SESSIONS = "session:*"
ALL_USER_SESSIONS = "user-sessions:*"
ALL_CONSENTS = "consents:*"
ALL_CLIENT_GRANTS = "client-grants:*"
"""Patterns: every initial access token, every grant (but not its tokens), every person, every block, every
cut, the grants of every person, every session, the sessions and the consents of every person, and the grants
of every client.
"""

CUTOFF_LIFETIME = 157_680_000
"""Seconds that a cut is remembered: longer than a grant lives, which a restored backup may bring back."""

MOST_REMEMBERED = 31_536_000
"""Seconds that a consent is remembered at most (`remembered_consent_lifetime`)."""

UNREDEEMED_CUTOFF_LIFETIME = 3600
"""Seconds; longer than a code or a device waits between being allowed and becoming a grant."""

ANSWER_CLAIM_LIFETIME = 60
"""Seconds in which the answer to a form must be made: longer than GitHub is waited for."""

ANSWER_LIFETIME = 30
"""Seconds in which a browser that sends the same form again gets the same answer."""

CODE_LIFETIME = 60
"""Seconds an authorization code can be redeemed (OAuth 2.1 section 4.1.2 asks for ten minutes at most)."""

USED_CODE_LIFETIME = 600
"""Seconds a redeemed code is remembered, so that a replay is recognised and ends the grant it gave."""


DEVICE_LIFETIME = 600
"""Seconds a person has to enter the user code and sign in."""

EXPIRED_DEVICE_LIFETIME = 600
"""Seconds more in which a device that polls still learns that its code expired."""


def client(client_id: str) -> str:
    """Key of a client's record."""
    return f"client:{_of_ours(client_id)}"


def initial_access_token(token_id: str) -> str:
    """Key of somebody's leave to register clients."""
    return f"initial-access-token:{token_id}"


def client_grants(client_id: str) -> str:
    """Key of the set of a client's grants."""
    return f"client-grants:{_of_ours(client_id)}"


def sibling_grants(client_id: str) -> str:
    """Key of the set of the grants that a client uses and that are its siblings'."""
    return f"sibling-grants:{_of_ours(client_id)}"


def user_grants(github_id: int) -> str:
    """Key of the set of a person's grants."""
    return f"user-grants:{github_id}"


def session(session_hash: str) -> str:
    """Key of a browser's session."""
    return f"session:{session_hash}"


def user_sessions(github_id: int) -> str:
    """Key of the set of a person's sessions."""
    return f"user-sessions:{github_id}"


def consents(github_id: int) -> str:
    """Key of what a person wants not to be asked again."""
    return f"consents:{github_id}"


def consent_field(client_id: str) -> str:
    """The field of a client in a person's consents."""
    return _of_ours(client_id)


def user(github_id: int) -> str:
    """Key of who somebody was when they last signed in."""
    return f"user:{github_id}"


def login(name: str) -> str:
    """Key of the account that a login means, which an operator listed."""
    return f"login:{name}"


def block(github_id: int) -> str:
    """Key whose existence shuts somebody out."""
    return f"block:{github_id}"


def cutoff_of_user(github_id: int) -> str:
    """Key of the second up to which what a person allowed is void."""
    return f"cut:user:{github_id}"


def cutoff_of_client(client_id: str) -> str:
    """Key of the second up to which what a client was allowed is void."""
    return f"cut:client:{_of_ours(client_id)}"


def cutoff_of_unredeemed(github_id: int, client_id: str) -> str:
    """Key of the second up to which what a person allowed a client is void, unless it is a grant already."""
    return f"cut:unredeemed:{github_id}:{_of_ours(client_id)}"


def cutoff_of_clients_of(github_id: int) -> str:
    """Key of the second up to which what a person allowed any client is void; their sessions are not."""
    return f"cut:clients-of:{github_id}"


def lease(work: str) -> str:
    """Key of the process that does some work for all."""
    return f"lease:{work}"


def lease_back_off(work: str) -> str:
    """Key that is there until the work is due again."""
    return f"lease-rest:{work}"


def document(name_hash: str) -> str:
    """Key of the last good copy of what a client publishes."""
    return f"document:{name_hash}"


def document_failed(name_hash: str) -> str:
    """Key of why that document could not be had a moment ago."""
    return f"document-failed:{name_hash}"


def document_fetches(host_hash: str) -> str:
    """Key of the count of fetches from one host."""
    return f"document-fetches:{host_hash}"


def assertion(assertion_hash: str) -> str:
    """Key whose existence says that a client assertion was used."""
    return f"assertion:{assertion_hash}"


def pending(handle_hash: str) -> str:
    """Key of an authorization that waits for consent."""
    return f"pending:{handle_hash}"


def sign_in(state_hash: str) -> str:
    """Key of a journey to GitHub, by the hash of the `state` GitHub will return."""
    return f"signin:{state_hash}"


def answer(secret_hash: str) -> str:
    """Key of the answer to what a browser sent, by the hash of the secret in it."""
    return f"answer:{secret_hash}"


def code(code_hash: str) -> str:
    """Key of an authorization code."""
    return f"code:{code_hash}"


def device(device_hash: str) -> str:
    """Key of a device that waits for its person, by the hash of its device code."""
    return f"device:{device_hash}"


def device_user_code(user_code_hash: str) -> str:
    """Key that leads from a user code to its device."""
    return f"device-code:{user_code_hash}"


def device_attempts(subject_hash: str) -> str:
    """Key of the count of user codes that a browser or an address tried."""
    return f"device-attempts:{subject_hash}"


def grant(grant_id: str) -> str:
    """Key of a grant and its refresh token."""
    return f"grant:{{{grant_id}}}"


def grant_tokens(grant_id: str) -> str:
    """Key of the access tokens a grant gave."""
    return f"grant:{{{grant_id}}}:tokens"


def ended_grant(grant_id: str) -> str:
    """Key whose existence says that a grant was ended."""
    return f"ended:{{{grant_id}}}"


def ended_client(client_id: str) -> str:
    """Key whose existence says that a client was deleted."""
    return f"ended:client:{_of_ours(client_id)}"


def ended_invite(token_id: str) -> str:
    """Key whose existence says that an initial access token was revoked or used up."""
    return f"ended:invite:{token_id}"


def ended_consents(github_id: int) -> str:
    """Key whose existence says that a person wants to be asked about a client again."""
    return f"ended:consents:{github_id}"


def ended_key(kid: str) -> str:
    """Key whose existence says that a signing key was retired."""
    return f"ended:key:{kid}"


def rate(limit: str, subject_hash: str) -> str:
    """Key of what a limit remembers of one subject."""
    return f"rate:{limit}:{subject_hash}"


def stored(kind: str) -> str:
    """Key of the bytes of one kind that strangers had us write."""
    return f"stored:{{{kind}}}"


def stored_by(kind: str, caller_hash: str) -> str:
    """Key of those of one caller. It has the hash tag of `stored`."""
    return f"stored:{{{kind}}}:{caller_hash}"


def token(jti: str) -> str:
    """Key whose existence keeps an access token alive."""
    return f"token:{jti}"


def _of_ours(client_id: str) -> str:
    """A client's id as part of a key. An id that is a URL was written by its owner, so it is hashed."""
    return client_id if is_identifier(client_id) else hash_secret(client_id)
