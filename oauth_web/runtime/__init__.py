"""What a running process holds: its stores, keys and policy, followed while it runs.

May import `client_documents`, `connectors` and `http`. Begin with `deps`.
"""
