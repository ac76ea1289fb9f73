"""The records in Redis, one module for each aggregate: grants, clients, codes, sessions and others.

May import the modules beside this folder and `topology`. Begin with `grants`; `revocation` ends them.
"""
