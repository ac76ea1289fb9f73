"""All access to Redis. Imports the pure folders of `oauth_core`.

`keyspace` lists the keys, their values and their lifetimes; begin there. `topology` determines which server
counts, `records` has one module for each aggregate, `client_cache` is the check service's copy of Redis, and
`maintenance` does migration and backup.
"""
