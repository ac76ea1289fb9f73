"""The login providers: each returns the identity of a person and their groups. GitHub is the only one so far.

A second provider is a module beside `github` with the same methods. `login`, `endpoints.callback`, `runtime.deps`,
`settings.web` (`github_…`) and `model.User` name GitHub too.

Imports nothing of `oauth_web`.
"""
