"""The check service: Envoy asks it whether to allow a request, and with which identity.

Folders, from the lowest: `net` (listen addresses), `metrics`, `decision` (one check: the bytes of a request in,
those of the answer out), `service` (the check service of one worker), `grpc_http2` and `transports` (the gRPC
servers), `process` (workers and their supervisor). A folder imports from lower ones only. Begin with
`decision.check`.
"""
