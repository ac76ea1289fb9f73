"""The rules that both services obey: no web framework, no gRPC, and only `store` speaks to Redis.

Folders, from the lowest: `limits`, `net` and `crypto` (values without a protocol), `jose` (keys and signed JSON),
`tokens`, `policy` (may this request pass), `clients`, `flows` (how a token is obtained), `settings`, `process`
(what every program needs while it runs), `store`. A folder imports from lower ones only. Begin with `model`, which
has the nouns, and with `policy.decision`.
"""
