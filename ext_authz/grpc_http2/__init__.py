"""An HTTP/2 server for gRPC: it transports bytes and makes no decisions.

The limits: the size of a frame in `http2_codec`, control frames (settings, pings, resets) in `control_budget`,
streams and buffered bytes in `streams`, headers in `header_blocks`, messages in `grpc_frames`. `connection`
announces them to a peer.

May import `service` and `net`. Begin with `transport`.
"""
