"""`portcullis config check`: every setting with its origin, and unsafe settings."""
