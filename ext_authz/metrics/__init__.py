"""What the check service counts, and how Prometheus is told: a meter in each worker, one page in their parent."""
