"""All access to Redis. Imports `process` and the folders below it.

`keyspace` lists the keys, their values and their lifetimes; begin there. `connection` turns a missing answer of
Redis into `StoreUnavailableError`, which ends in 503. `topology` finds the primary that is responsible for a key,
`records` has one module for each aggregate, `client_cache` is the check service's copy of Redis, and `maintenance`
does migration and backup.
"""
