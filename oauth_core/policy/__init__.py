"""Authorization: the decision on a request, roles and permissions, and the responses to denied requests.

The limits of a JSON-RPC body are in three places: its bytes in `settings.envoy`, its depth and digits in
`strict_json`, its names and URIs in `mcp_request`.

May import `tokens` and what is below it. Begin with `decision`.
"""
