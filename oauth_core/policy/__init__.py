"""Authorization: the decision on a request, roles and permissions, and the refusals of the check.

May import `tokens` and what is below it. Begin with `decision`.
"""
