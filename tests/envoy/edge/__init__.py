"""Every rule at the edge, tested through a real Envoy with raw requests that break it; and the table of the
results.
"""
