"""Parquet copies of closed hours, which are searched faster than segments. Segments stay the source of truth.

Imports `portcullis.audit`, and DuckDB only when a copy is made or searched. Begin with `record`.
"""
