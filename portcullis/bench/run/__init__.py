"""One `portcullis bench check`: its options, and the run from these to the report.

May import everything else of `portcullis.bench`.
"""
