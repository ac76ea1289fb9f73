"""An HTTP/2 server for gRPC: it transports bytes and makes no decisions.

May import `service` and `net`. Begin with `transport`.
"""
