"""The rules both services obey: no web framework, no gRPC, and only `store` speaks to Redis."""
