"""Several replicas of every program, as on several machines: what callers see when one is killed, drained or
added.
"""
