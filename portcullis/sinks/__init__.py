"""Sinks: the sealed audit record for places beyond this machine, and the proof that it is complete there.

Imports `portcullis.audit` and `portcullis.outgoing`. Begin with `records` (what is sent) and `sealed_records` (in
which order), then `shipping` (at least once, to each sink by itself). `received` verifies what a sink has.
"""
