"""The processes of the check service: workers, and the supervisor that replaces them.

May import everything else of `ext_authz`. Begin with `supervisor`.
"""
