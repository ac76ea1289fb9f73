"""Detection: Sigma rules over the events of the audit record, away from the path of the check.

Imports `portcullis.audit`. The rules are the files in the folder `rules`. Begin with `rules`, then `detecting`.
"""
