"""Authorization: the decision on a request, roles and permissions, and the responses to denied requests.

`jsonrpc_limits` has all limits of a JSON-RPC body: its bytes, its depth, its names and URIs.

May import `tokens` and what is below it. Begin with `decision`.
"""
