"""The listen addresses of the check service.

Imports no other part of `ext_authz`.
"""
