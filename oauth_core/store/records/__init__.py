"""What is kept in Redis, one module an aggregate: grants, clients, codes, sessions and the like.

May import the modules beside this folder and `topology`. Begin with `grants`; `revocation` ends them.
"""
