"""The client-side cache of Redis in one check process, kept current by invalidations from the servers.

May import `records` and the modules below it. Begin with `token_cache`, the protocol without I/O.
"""
