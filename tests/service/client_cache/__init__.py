"""The local cache of Redis: its protocol model-checked, and the real thing under faults."""
