"""Actions that must happen once, tried many times at the same moment: by several processes, and two servers on one
Redis.
"""
