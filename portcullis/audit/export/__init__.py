"""Other forms of events for other programs: JSON lines, ECS, OCSF and Parquet.

Imports `portcullis.audit`. Begin with `forms`.
"""
