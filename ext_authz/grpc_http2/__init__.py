"""An HTTP/2 server for gRPC: it transports bytes and makes no decisions.

`limits` has every limit: of frames, headers, messages, windows, streams, buffered bytes and control frames.

May import `service` and `net`. Begin with `transport`.
"""
