"""The login providers: where people sign in. To add a provider, begin here. GitHub is the only one so far.

A provider is one module beside `github` with the same methods, which return the identity of a person and their
groups. `runtime.deps` makes the provider that the settings select. These places name GitHub and need a second name
too: `login`, `endpoints.callback`, `endpoints.account_notices`, `endpoints.metrics`, the templates of pages,
`settings.web` (`github_…`), `model.User`, the claims of people in `tokens.access_tokens`, and `PROVIDER` in
`oauth_core.audit`.

Imports nothing of `oauth_web`.
"""
