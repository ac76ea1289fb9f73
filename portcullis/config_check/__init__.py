"""`portcullis config check`: every setting with its origin, and what is unsafe about it."""
