"""Authorization: the decision on a request, roles and permissions, and the wording of refusals.

May import `tokens` and what is below it. Begin with `decision`.
"""
