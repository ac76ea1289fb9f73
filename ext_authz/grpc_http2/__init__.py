"""An HTTP/2 server for gRPC: it transports bytes and makes no decisions.

`connection` announces the limits to a peer and names the modules that hold them: streams and buffered bytes in
`streams`, control frames in `control_budget`, headers in `header_blocks`, messages in `grpc_frames`.

May import `service` and `net`. Begin with `transport`.
"""
