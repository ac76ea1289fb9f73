"""What one worker serves: a check service put together, and its health.

May import `decision` and what is below it. Begin with `server`.
"""
