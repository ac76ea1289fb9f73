"""Row R3 of the security model: a credential is accepted only at the endpoints of its own kind."""
