"""The sign-in of a person: the redirect, the membership check, the browser session and the completion.

To add a provider, begin in `login_providers`. May import `guards` and what is below it. Begin with `redirect`.
"""
