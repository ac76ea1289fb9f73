"""The grant types of the token endpoint, one module each.

Each module ends with its descriptor, `GRANT_TYPE`, and `catalog` lists them. Handlers decide; `issuing` stores
grants and issues tokens. A new grant type is one module and one line in `catalog`.

May import `client_auth` and what is below it. Begin with `catalog`, then `issuing`.
"""
