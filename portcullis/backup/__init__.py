"""Backups of a gateway's state: the file format, backup and restore."""
