"""The stored form of audit events: frames of compressed lines, each with the digest of the frame before it.

Has no clock and no I/O. Imports `crypto`. Begin with `frames`; `oauth_core.audit` has the events themselves.
"""
