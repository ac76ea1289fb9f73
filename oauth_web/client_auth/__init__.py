"""Which client is calling, what it proved, and what it may register.

May import `login` and what is below it. Begin with `authentication`.
"""
