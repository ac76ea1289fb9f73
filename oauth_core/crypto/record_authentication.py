"""Authentication of stored records: a message authentication code that only the authorization server can make.

Grants, codes, sessions, registrations and the other records that the authorization server trusts are stored in
Redis. Without a code on each, an attacker with write access to Redis could write a grant for any person. The key
is derived from the master key, so that Redis and its backups never contain it.

The code covers the place of the record as well (its Redis key, and the field of a hash), so that a valid record
does not open at another place. It does not cover time: an attacker can still put back an older value of the same
place, or remove one. `SECURITY.md` describes the consequences.
"""

from __future__ import annotations

import hmac

from oauth_core.crypto import base64url, sealing
from oauth_core.crypto.digests import hmac_sha256
from oauth_core.crypto.sealing import UnsealError, derive_key

_PURPOSE = "portcullis records"
_SEALING_PURPOSE = "portcullis encrypted records"
_CODE_LENGTH = 43
"""Characters of a SHA-256 in base64url without padding."""


class ForgedRecordError(ValueError):
    """The record was not written with this key for this place, or was changed since."""

    def __init__(self, location: str) -> None:
        super().__init__(f"the record at {location!r} was not written by the holder of this master key")
        self.location = location


class RecordKey:
    """Makes and checks the codes (HMAC-SHA256, RFC 2104) under a key derived from a 256-bit `master_key`.

    Records about people that Redis must not show are encrypted instead, under another key.
    """

    def __init__(self, master_key: bytes) -> None:
        self._key = derive_key(master_key, purpose=_PURPOSE)
        self._sealing_key = derive_key(master_key, purpose=_SEALING_PURPOSE)

    def code_of(self, location: str, text: str) -> str:
        """Return the code of `text` at `location`: 43 characters."""
        # The length separates place and text: no two pairs give the same message.
        message = f"{len(location)}:{location}{text}".encode("utf-8", "surrogatepass")
        return hmac_sha256(self._key, message)

    def sign(self, location: str, text: str) -> str:
        """Return `text` behind its code, to be written at `location`."""
        return f"{self.code_of(location, text)}.{text}"

    def open(self, location: str, signed: str) -> str:
        """Return the text that was given to `sign` for the same place. Raises `ForgedRecordError`."""
        code, dot, text = (
            signed[:_CODE_LENGTH],
            signed[_CODE_LENGTH : _CODE_LENGTH + 1],
            signed[_CODE_LENGTH + 1 :],
        )
        expected = self.code_of(location, text)
        if dot != "." or not hmac.compare_digest(code.encode("utf-8", "surrogatepass"), expected.encode()):
            raise ForgedRecordError(location)
        return text

    def seal(self, location: str, text: str) -> str:
        """Return `text` encrypted, to be written at `location`, in base64url."""
        return base64url.encode(sealing.seal(text.encode(), self._sealing_key, context=location))

    def unseal(self, location: str, sealed: str) -> str:
        """Return the text that was given to `seal` for the same place. Raises `UnsealError`."""
        data = base64url.decode(sealed)
        if data is None:
            raise UnsealError(location)
        return sealing.unseal(data, self._sealing_key, context=location).decode()
