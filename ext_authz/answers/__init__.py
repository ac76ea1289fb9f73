"""The filter on answers of services: Envoy sends an answer, and gets the one that the caller may see.

May import `decision` and the folders below it. Begin with `filtered_answer`.
"""
