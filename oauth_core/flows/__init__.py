"""How a token is obtained: authorization, consent, devices, machines, and what the token endpoint decides.

May import `clients` and what is below it. Begin with `authorization`, then `token_requests`.
"""
