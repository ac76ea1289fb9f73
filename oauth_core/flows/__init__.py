"""The ways to obtain a token: authorization, consent, devices, machines, and the rules of the token endpoint.

May import `clients` and what is below it. Begin with `authorization`, then `token_requests`.
"""
