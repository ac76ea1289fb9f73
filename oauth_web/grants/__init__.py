"""What the token endpoint can be asked for, one module a grant type.

May import `client_auth` and what is below it. `issuing` is what all of them end in; begin there.
"""
