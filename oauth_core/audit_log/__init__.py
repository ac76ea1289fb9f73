"""The stored form of audit events, and the sealed tree over it.

`frames` are compressed lines, each with the digest of the frame before it (`chain`). The tree has an entry for
each frame (`entries`); `merkle` has its hashes and proofs, `tiles` its files, and `checkpoints` its signed roots
(`signed_notes`). Has no clock and no I/O. Imports `crypto`. Begin with `frames`; `oauth_core.audit` has the events
themselves.
"""
