"""The processes of the check service: workers, and the supervisor that replaces them.

May import all other parts of `ext_authz`. Begin with `supervisor`.
"""
