"""The rules of both services: no web framework, no gRPC, and only `store` accesses Redis.

Folders, from the lowest: `limits`, `net` and `crypto` (values without a protocol), `audit_log` (the stored form of
audit events), `jose` (keys and signed JSON), `tokens`, `policy` (may this request pass), `clients`, `flows` (how a
client obtains a token), `settings`, `process` (runtime support for every program), `store`. A folder imports from
lower ones only. Begin with `model`, which defines the values, and with `policy.decision`.
"""
