"""Authorization: the decision on a request, roles and permissions, and the responses to denied requests.

May import `tokens` and what is below it. Begin with `decision`.
"""
