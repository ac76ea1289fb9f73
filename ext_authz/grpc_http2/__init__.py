"""Our own HTTP/2 for gRPC: it carries bytes and decides nothing.

May import `service` and `net`. Begin with `transport`.
"""
