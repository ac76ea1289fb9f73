"""Ways for a check to come in: our own HTTP/2, or gRPC's C core. They behave alike.

May import `grpc_http2` and what is below it.
"""
