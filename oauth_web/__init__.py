"""The authorization server: registration, consent, sign-in with GitHub, and tokens. One file an endpoint."""
