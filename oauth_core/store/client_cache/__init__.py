"""The client-side cache of Redis that one check process keeps, with invalidations from the server.

May import `records` and what is below it. Begin with `token_cache`, the protocol without I/O.
"""
