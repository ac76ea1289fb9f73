"""The figures of the check service: a meter in each worker, and one page for Prometheus in their parent.

May import `net`. Begin with `families`, which lists every metric.
"""
