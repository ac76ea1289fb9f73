"""Real servers for the tests, and clients, keys and tokens to use them with; each module is one concept."""
