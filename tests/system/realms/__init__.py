"""Row R3 of the security model: no credential opens a door of another realm."""
