"""Who may do what: the decision on a request, roles and permissions, and how a refusal is worded.

May import `tokens` and what is below it. Begin with `decision`.
"""
