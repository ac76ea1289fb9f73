"""The check service of one worker: its assembly, and its health.

May import `decision` and the folders below it. Begin with `server`.
"""
