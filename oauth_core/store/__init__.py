"""All that speaks to Redis. Imports the pure folders of `oauth_core`.

`keyspace` says what is kept where and for how long; begin there. `topology` knows which server counts, `records`
has one module an aggregate, `client_cache` is the check service's copy of Redis, and `maintenance` has migration
and backup.
"""
