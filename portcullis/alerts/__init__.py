"""Alerts: from findings of the detection rules to messages that operators get, by way of an outbox on disk.

Imports `portcullis.detection` and `portcullis.audit`. Begin with `outbox`, then `looking` (rules into the outbox)
and `delivering` (out of it).
"""
