"""Real servers for the tests, and clients, keys and tokens for them; each module is one concept."""
