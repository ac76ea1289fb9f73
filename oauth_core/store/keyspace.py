"""Every key in Redis, its value and its lifetime. No other module builds a key.

A key that a backup must contain is in `maintenance.snapshot` too, and one that the check service reads is in its
rights (`client_cache.token_status`, `compose.yaml`).

| key | value | lifetime |
|---|---|---|
| `client:<id>` | a `Client`, JSON | unused an hour, then see `records.client_lifetimes` |
| `initial-access-token:<id>` | hash: `record` (an `InitialAccessToken`), `left` (uses) | itself, or its uses |
| `document:<hash>` | hash: `body` (a document of a client), `fetched_at`, `fresh_until` | as a client |
| `document-failed:<hash>` | why its last fetch failed, JSON | some seconds |
| `document-fetches:<hash>` | the number of fetches from its host | a minute |
| `assertion:<hash>` | that an assertion or a DPoP proof was used | the assertion or the proof |
| `pending:<hash>` | a `PendingAuthorization`, JSON | `session_timeout` |
| `signin:<hash>` | a `SignIn`, JSON | `session_timeout` |
| `answer:<hash>` | a `StoredAnswer`, JSON: the sealed answer to a form or to GitHub's return | half a minute |
| `code:<hash>` | hash: `record` (an `AuthorizationCode`, JSON), `used`, `replayed` | 60 s; 600 s once used |
| `device:<hash>` | hash: `record` (a `DeviceAuthorization`), `pace`, `decision`, JSON | twenty minutes |
| `device-code:<hash of the user code>` | the hash of the device code | ten minutes |
| `device-attempts:<hash>` | user codes that this browser, or this address, tried | ten minutes from the first |
| `device-attempts` | user codes that addresses tried after their first ones | a minute from the first |
| `device-first-attempts` | user codes that addresses tried first | a minute from the first |
| `grant:{<id>}` | hash: `record` (a `Grant`, JSON), refresh token state | the refresh token |
| `grant:{<id>}:tokens` | sorted set: `jti` by expiry | as its grant |
| `ended:{<id>}` | `1`: a grant was ended; no backup brings it back | as the grant, `backup_days` at most |
| `ended:client:<id>` | `1`: the same for a client | as the client, `backup_days` at most |
| `ended:invite:<id>` | `1`: the same for an initial access token | as the token |
| `ended:consents:<GitHub id>` | `1`: the same for consents of this person | a year |
| `ended:person:<GitHub id>` | the second of an erasure: no older backup brings the person back | five years |
| `ended:key:<id>` | `1`: the same for a signing key | five years |
| `paused` | why sign-ins are paused | until an operator resumes |
| `client-grants:<id>` | sorted set: ids of the grants of a client by expiry | as the longest of them |
| `sibling-grants:<id>` | sorted set: the same for grants of its siblings that it uses | as the longest of them |
| `session:<hash>` | a `Session`, JSON | `session_idle_lifetime` after its last use, `session_lifetime` at most |
| `user-sessions:<GitHub id>` | sorted set: hashes of a person's sessions by expiry | as the longest of them |
| `consents:<GitHub id>` | hash: a `RememberedConsent`, JSON, for each client | as the longest of them |
| `notices:<GitHub id>` | hash: 50 encrypted `Notice`s at most, by kind and subject | 90 days after the last |
| `contact:<GitHub id>` | an encrypted `Contact`: a person's mail address | until the person removes it |
| `contact-pending:<hash>` | an encrypted `PendingContact`: an address that waits for its confirmation | an hour |
| `mail:<id>` | an encrypted `QueuedMail` | a day, or an hour with a link, or until it is sent |
| `mails` | sorted set: ids of mails by the second of their next attempt | until they are sent |
| `user-grants:<GitHub id>` | sorted set: ids of a person's grants by expiry | as the longest of them |
| `login:<login>` | the GitHub id of a listed login | for ever; an operator may change it |
| `user:<GitHub id>` | a `KnownUser`, JSON | the refresh token, from their last sign-in |
| `block:<GitHub id>` | a `Block`, JSON | until an operator ends it |
| `disabled-client:<id>` | a `DisabledClient`, JSON | until an operator enables it |
| `disabled-trait:<hash>` | `1`: no client may register with this trait | until no disabled client has it |
| `cut:user:<GitHub id>` | the second up to which a person's grants and sessions are void | five years |
| `cut:clients-of:<GitHub id>` | the same for the person's grants only | five years |
| `cut:unredeemed:<GitHub id>:<client>` | the second up to which codes and devices of a client are void | an hour |
| `cut:client:<id>` | the same for the grants of a client | five years |
| `cut:all` | the same for everything | five years |
| `rate:<limit>:<hash>` | when the requests of one subject are worked off, in microseconds | until then |
| `limit:{<hash>}:<hash>` | what one subject used of one limit on calls | until that says nothing, a day at most |
| `stored:{<kind>}` | hash: bytes that callers caused, by the second of expiry | the longest of them |
| `stored:{<kind>}:<caller hash>` | the same for one caller | the longest of them |
| `token:<jti>` | the grant's id | the access token |
| `lease:<work>` | the process that does the work for all | a minute, extended meanwhile |
| `lease-rest:<work>` | the rules under which the work was done last | until it is due again |
| `keyring` | the signing keys, private parts under AES-256-GCM, JSON | for ever |
| `signed-jwks` | the public keys, a signed JWK set | for ever |
| `jwks` | the same without a signature, for check services of the version before | for ever |
| `isolated-services` | services that an operator disabled, and why, JSON | until all are enabled |
| `signed-jwks-copy:<number>` | the same as `signed-jwks`, on other nodes of a cluster | for ever |
| `isolated-services-copy:<number>` | the same as `isolated-services`, on other nodes of a cluster | for ever |
| `replicated`, `replicated:<number>` | empty: a mark whose replication is measured | a minute |
| `schema` | the version of this layout (`maintenance.schema`), or that a restore is running | for ever |

A token without `token:<jti>` is revoked: an operator's plain `DEL` revokes it. Keys of one atomic step share a
hash tag (the braces), so that Redis Cluster keeps them on one node. Parts that a caller sent are hashed, or are
identifiers that this gateway made, never raw.

Revocation works in a Redis that is at its `maxmemory`. Redis then refuses commands that may grow, but not `DEL`
and the like, and a script whose first write was accepted may write on. So a script that takes a right away and
must record it (a cutoff, a block, a disabled client, a tombstone) deletes first. Such records have
some hundred bytes each.
"""

from __future__ import annotations

from oauth_core.crypto.credentials import hash_secret, is_identifier

KEYRING = "keyring"
JWKS = "signed-jwks"
PLAIN_JWKS = "jwks"
DISABLED_SERVICES = "isolated-services"
SCHEMA = "schema"
PAUSED = "paused"
MAILS = "mails"
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
ALL_DISABLED_CLIENTS = "disabled-client:*"
ALL_CUTOFFS = "cut:*"
ALL_USER_GRANTS = "user-grants:*"
ALL_SESSIONS = "session:*"
ALL_USER_SESSIONS = "user-sessions:*"
ALL_CONSENTS = "consents:*"
ALL_CLIENT_GRANTS = "client-grants:*"
"""Patterns: every initial access token, every grant (but not its tokens), every person, every block, every
disabled client, every cutoff, the grants of every person, every session, the sessions and the consents of every
person, and the grants of every client.
"""

CALL_PERMITS = "limit:*"
"""Pattern of the keys of limits on calls: the only ones that the check service may write."""

CUTOFF_LIFETIME = 157_680_000
"""Seconds that a cutoff is kept: longer than the lifetime of a grant, which a restored backup may bring back."""

MOST_REMEMBERED = 31_536_000
"""Seconds that a consent is kept at most (`sign_in.remembered_consent_lifetime`)."""

UNREDEEMED_CUTOFF_LIFETIME = 3600
"""Seconds; longer than the time between allowing a code or device and creating its grant."""

ANSWER_CLAIM_LIFETIME = 60
"""Seconds in which the answer to a form must be made: longer than the timeout for GitHub."""

ANSWER_LIFETIME = 30
"""Seconds in which a browser that sends the same form again gets the same answer."""

CODE_LIFETIME = 60
"""Seconds in which an authorization code can be redeemed (OAuth 2.1 section 4.1.2: ten minutes at most)."""

USED_CODE_LIFETIME = 600
"""Seconds that a redeemed code is kept, so that a replay is recognised and ends its grant."""


DEVICE_LIFETIME = 600
"""Seconds in which a person can enter the user code and sign in."""

EXPIRED_DEVICE_LIFETIME = 600
"""Further seconds in which the answer to a polling device is that its code expired."""


def client(client_id: str) -> str:
    """Key of a client's record."""
    return f"client:{_client_part(client_id)}"


def initial_access_token(token_id: str) -> str:
    """Key of an initial access token."""
    return f"initial-access-token:{token_id}"


def client_grants(client_id: str) -> str:
    """Key of the set of a client's grants."""
    return f"client-grants:{_client_part(client_id)}"


def sibling_grants(client_id: str) -> str:
    """Key of the set of the siblings' grants that a client uses."""
    return f"sibling-grants:{_client_part(client_id)}"


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
    """Key of a person's remembered consents."""
    return f"consents:{github_id}"


def notices(github_id: int) -> str:
    """Key of a person's notices."""
    return f"notices:{github_id}"


def contact(github_id: int) -> str:
    """Key of a person's mail address."""
    return f"contact:{github_id}"


def pending_contact(secret_hash: str) -> str:
    """Key of a mail address that waits for its confirmation."""
    return f"contact-pending:{secret_hash}"


def mail(mail_id: str) -> str:
    """Key of a mail that waits."""
    return f"mail:{mail_id}"


def consent_field(client_id: str) -> str:
    """The field of a client in a person's consents."""
    return _client_part(client_id)


def user(github_id: int) -> str:
    """Key of a person's record of the last sign-in."""
    return f"user:{github_id}"


def login(name: str) -> str:
    """Key of the account of a login that an operator listed."""
    return f"login:{name}"


def block(github_id: int) -> str:
    """Key whose existence blocks a person."""
    return f"block:{github_id}"


def disabled_client(client_id: str) -> str:
    """Key whose existence disables a client."""
    return f"disabled-client:{_client_part(client_id)}"


def disabled_trait(trait: str) -> str:
    """Key whose existence keeps clients with a trait from registering."""
    return f"disabled-trait:{trait}"


def cutoff_of_user(github_id: int) -> str:
    """Key of the cutoff of a person."""
    return f"cut:user:{github_id}"


def cutoff_of_client(client_id: str) -> str:
    """Key of the cutoff of a client."""
    return f"cut:client:{_client_part(client_id)}"


def cutoff_of_unredeemed(github_id: int, client_id: str) -> str:
    """Key of the cutoff for rights that a person allowed a client and that are not a grant yet."""
    return f"cut:unredeemed:{github_id}:{_client_part(client_id)}"


def cutoff_of_clients_of(github_id: int) -> str:
    """Key of the cutoff for a person's grants to all clients; it does not end the person's sessions."""
    return f"cut:clients-of:{github_id}"


def lease(work: str) -> str:
    """Key of the process that does some work for all."""
    return f"lease:{work}"


def lease_back_off(work: str) -> str:
    """Key that exists until the work is due again."""
    return f"lease-rest:{work}"


def document(name_hash: str) -> str:
    """Key of the last valid copy of a document that a client publishes."""
    return f"document:{name_hash}"


def document_failed(name_hash: str) -> str:
    """Key of the error of the last failed fetch of a document that a client publishes."""
    return f"document-failed:{name_hash}"


def document_fetches(host_hash: str) -> str:
    """Key of the count of fetches from one host."""
    return f"document-fetches:{host_hash}"


def assertion(assertion_hash: str) -> str:
    """Key whose existence means that an assertion or a DPoP proof was used."""
    return f"assertion:{assertion_hash}"


def pending(handle_hash: str) -> str:
    """Key of an authorization that waits for consent."""
    return f"pending:{handle_hash}"


def sign_in(state_hash: str) -> str:
    """Key of a login redirect, by the hash of the `state` that GitHub will return."""
    return f"signin:{state_hash}"


def answer(secret_hash: str) -> str:
    """Key of the answer to a browser's request, by the hash of the secret in it."""
    return f"answer:{secret_hash}"


def code(code_hash: str) -> str:
    """Key of an authorization code."""
    return f"code:{code_hash}"


def device(device_hash: str) -> str:
    """Key of a device that waits for a decision, by the hash of its device code."""
    return f"device:{device_hash}"


def device_user_code(user_code_hash: str) -> str:
    """Key of the pointer from a user code to its device."""
    return f"device-code:{user_code_hash}"


def device_attempts(subject_hash: str) -> str:
    """Key of the count of user codes that a browser or an address tried."""
    return f"device-attempts:{subject_hash}"


def grant(grant_id: str) -> str:
    """Key of a grant and its refresh token."""
    return f"grant:{{{grant_id}}}"


def grant_tokens(grant_id: str) -> str:
    """Key of the access tokens of a grant."""
    return f"grant:{{{grant_id}}}:tokens"


def ended_grant(grant_id: str) -> str:
    """Key of the tombstone of a grant."""
    return f"ended:{{{grant_id}}}"


def ended_client(client_id: str) -> str:
    """Key of the tombstone of a client."""
    return f"ended:client:{_client_part(client_id)}"


def ended_invite(token_id: str) -> str:
    """Key of the tombstone of an initial access token that was revoked or used up."""
    return f"ended:invite:{token_id}"


def ended_consents(github_id: int) -> str:
    """Key of the tombstone of a person's deleted consents."""
    return f"ended:consents:{github_id}"


def ended_person(github_id: int) -> str:
    """Key of the tombstone of a person's erased profile, mail address and notices."""
    return f"ended:person:{github_id}"


def ended_key(kid: str) -> str:
    """Key of the tombstone of a retired signing key."""
    return f"ended:key:{kid}"


def rate(limit: str, subject_hash: str) -> str:
    """Key of the state of a limit for one subject."""
    return f"rate:{limit}:{subject_hash}"


def call_permits(person_hash: str, limit_hash: str) -> str:
    """Key of the state of a limit on calls for one subject of a person."""
    return f"limit:{{{person_hash}}}:{limit_hash}"


def stored(kind: str) -> str:
    """Key of the counter of bytes: how much unauthenticated callers store of one kind of record."""
    return f"stored:{{{kind}}}"


def stored_by(kind: str, caller_hash: str) -> str:
    """Key of the same counter for one caller. It has the hash tag of `stored`."""
    return f"stored:{{{kind}}}:{caller_hash}"


def token(jti: str) -> str:
    """Key whose existence keeps an access token active."""
    return f"token:{jti}"


def _client_part(client_id: str) -> str:
    """Return a client's id as part of a key. An id that is a URL was chosen by its owner, so it is hashed."""
    return client_id if is_identifier(client_id) else hash_secret(client_id)
