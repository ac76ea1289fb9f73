"""The state of a running process: its stores, keys and policy, which it keeps current.

May import `client_documents`, `login_providers` and `http`. Begin with `deps`.
"""
