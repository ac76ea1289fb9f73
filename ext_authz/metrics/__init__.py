"""What the check service counts: a meter in each worker, and one page for Prometheus in their parent.

May import `net`. Begin with `families`, which names every metric.
"""
