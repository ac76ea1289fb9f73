"""The login providers: where people sign in. To add a provider, begin here. GitHub is the only one so far.

A provider is one module beside `github` with the same methods, which return the identity of a person and their
groups. `runtime.deps` makes the provider that the settings select. These places name GitHub and need a second name
too: `login`, `endpoints.callback`, `settings.web` (`github_…`) and `model.User`.

Imports nothing of `oauth_web`.
"""
