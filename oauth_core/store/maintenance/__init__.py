"""Work on all records at once: the schema version, migration, backup and restore.

May import every other part of the store. Begin with `schema`.
"""
