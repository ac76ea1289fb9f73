"""The authorization server: registration, consent, sign-in, and tokens.

Folders, from the lowest: `http` (what an answer looks like), `client_documents` (what clients publish),
`login_providers` (where people sign in), `runtime` (what a running process holds), `guards` (limits before a
request), `login`, `client_auth`, `grants`, `endpoints`. A folder imports from lower ones only. Begin with `app`.
"""
