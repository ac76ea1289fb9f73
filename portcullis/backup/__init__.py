"""Backups of a gateway's state: the file, writing it and restoring it."""
