"""The client-side cache of Redis: a model check of its protocol, and tests of the real cache under faults."""
