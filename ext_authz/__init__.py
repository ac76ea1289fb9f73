"""The check service: answers Envoy's question whether a request may pass, and as whom.

Folders, from the lowest: `net` (where it listens), `metrics`, `decision` (one check, from bytes to bytes),
`service` (what one worker serves), `grpc_http2` and `transports` (how checks come in), `process` (workers and
their supervisor). A folder imports from lower ones only. Begin with `decision.check`.
"""
