"""The check service: answers to Envoy whether a request may pass, and with which identity.

Folders, from the lowest: `net` (listen addresses), `metrics`, `decision` (one check, from bytes to bytes),
`service` (one worker's check service), `grpc_http2` and `transports` (how checks arrive), `process` (workers and
their supervisor). A folder imports from lower ones only. Begin with `decision.check`.
"""
