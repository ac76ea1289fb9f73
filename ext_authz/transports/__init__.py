"""The transports of checks: our own HTTP/2, or gRPC's C core. They behave alike.

May import `grpc_http2` and the folders below it.
"""
