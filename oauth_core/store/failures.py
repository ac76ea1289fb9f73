"""Explains failures of Redis with a remedy, where redis-py raises one error for many causes."""

from __future__ import annotations

_REFUSED = (
    (
        ("WRONGPASS", "INVALID USERNAME-PASSWORD", "INVALID PASSWORD"),
        "Redis refused the user name or the password",
    ),
    (
        ("NOAUTH", "AUTHENTICATION REQUIRED", "CLIENT ALREADY AUTHENTICATED"),
        "Redis asks for a password, and none is set",
    ),
    (("NOPERM", "HAS NO PERMISSIONS"), "the Redis user may not do this"),
)


def known_cause(error: BaseException) -> str | None:
    """Return what Redis refused, by the error or one of its causes; `None` for another failure.

    The result contains no part of the message, which may hold an address or a user name.
    """
    found: BaseException | None = error
    while found is not None:
        text = str(found).upper()
        for signs, cause in _REFUSED:
            if any(sign in text for sign in signs):
                return cause
        found = found.__cause__ or found.__context__
    return None
