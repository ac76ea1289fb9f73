"""The audit folder of a gateway: its segments, the sealed tree over them, and what proves that both are intact.

Imports `oauth_core.audit_log` for the forms and `oauth_core.process` for files. Begin with `segments`.
"""
