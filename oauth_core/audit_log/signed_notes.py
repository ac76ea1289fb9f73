"""Notes signed with Ed25519, as C2SP signed-note defines them: a text, an empty line, and lines of signatures.

A key has a name; name and key id together tell which key has signed. The text form of a verifier key is that of
the same specification. A private key has the form of Go's `golang.org/x/mod/sumdb/note`.
"""

from __future__ import annotations

import base64
import binascii
import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from oauth_core.crypto.digests import sha256
from oauth_core.crypto.record_authentication import RecordKey

LONGEST_NOTE = 1024 * 1024
"""Characters of a note that is read."""
MOST_SIGNATURES = 16

_ED25519 = b"\x01"
"""The signature type of Ed25519 (C2SP signed-note, "Signature types")."""
_KEY_BYTES = 32
_ID_BYTES = 4
_PRIVATE = "PRIVATE+KEY+"
_DASH = "\N{EM DASH} "
_NAME = re.compile(r"[^\s+]+\Z")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class NoteError(ValueError):
    """The note or the key is not in its form, or no signature of the key verifies. The message says which."""


class VerifierKey:
    """The public half of a key. Two are equal when their text forms are."""

    def __init__(self, name: str, public: bytes) -> None:
        """`public` has 32 bytes (RFC 8032 section 5.1.5). Raises `NoteError`."""
        if not _NAME.match(name) or _CONTROL.search(name):
            raise NoteError(f"{name!r} is no name of a key: it has a space, a plus sign or no character")
        try:
            self._key = Ed25519PublicKey.from_public_bytes(public)
        except ValueError:
            raise NoteError("the key is no Ed25519 key") from None
        self.name = name
        self.key_id = sha256(name.encode() + b"\n" + _ED25519 + public)[:_ID_BYTES]
        self.text = f"{name}+{self.key_id.hex()}+{_encoded(_ED25519 + public)}"
        """The text form, called vkey."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VerifierKey) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"VerifierKey({self.text!r})"

    @classmethod
    def from_text(cls, text: str) -> VerifierKey:
        """Read a text form. Raises `NoteError`."""
        name, plus, rest = text.partition("+")
        key_id, second, material = rest.partition("+")
        key = _decoded(material)
        if not (plus and second) or key is None or key[:1] != _ED25519 or len(key) != 1 + _KEY_BYTES:
            raise NoteError("no verifier key: it is <name>+<key id>+<base64 of an Ed25519 key>")
        found = cls(name, key[1:])
        if found.key_id.hex() != key_id:
            raise NoteError("the id of the verifier key is not that of its name and its key")
        return found

    def open(self, note: str) -> str:
        """Return the text of a note that this key has signed. Raises `NoteError`.

        Signatures of other keys are ignored, as the specification says. A wrong signature of this key refuses the
        note, even if another one is right.
        """
        text, signatures = split_note(note)
        ours = [signature for name, key_id, signature in signatures if (name, key_id) == (self.name, self.key_id)]
        if not ours:
            raise NoteError(f"the note has no signature of the key {self.name}+{self.key_id.hex()}")
        for signature in ours:
            try:
                self._key.verify(signature, text.encode())
            except InvalidSignature:
                raise NoteError(f"the signature of {self.name} does not verify") from None
        return text


class Signer:
    """A key that signs notes. `repr` shows only its public half."""

    def __init__(self, name: str, seed: bytes) -> None:
        """`seed` has 32 random bytes. Raises `NoteError` for a name that no key can have."""
        self._seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = VerifierKey(name, self._key.public_key().public_bytes_raw())
        self.record_key = RecordKey(seed)
        """Authenticates files that only the holder of this key may write, and that no other program verifies."""

    def __repr__(self) -> str:
        return f"Signer({self.verifier.text!r})"

    @classmethod
    def from_text(cls, text: str) -> Signer:
        """Read a private key. Raises `NoteError`, whose message does not show the key."""
        name, _, rest = text.removeprefix(_PRIVATE).partition("+")
        key_id, _, material = rest.partition("+")
        key = _decoded(material)
        if not text.startswith(_PRIVATE) or key is None or key[:1] != _ED25519 or len(key) != 1 + _KEY_BYTES:
            raise NoteError(f"no private key: it begins with {_PRIVATE}")
        found = cls(name, key[1:])
        if found.verifier.key_id.hex() != key_id:
            raise NoteError("the id of the private key is not that of its name and its key")
        return found

    def private_text(self) -> str:
        """Return the private key as text, for a file of its owner only."""
        material = _encoded(_ED25519 + self._seed)
        return f"{_PRIVATE}{self.verifier.name}+{self.verifier.key_id.hex()}+{material}"

    def sign(self, text: str) -> str:
        """Return the signed note. `text` ends in a line break and has no other control character."""
        _check_text(text)
        signature = _encoded(self.verifier.key_id + self._key.sign(text.encode()))
        return f"{text}\n{_DASH}{self.verifier.name} {signature}\n"


def split_note(note: str) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """Return the text and the signatures of a note: name, key id and signature of each. Verifies none.

    Raises `NoteError` for a note in another form.
    """
    if len(note) > LONGEST_NOTE:
        raise NoteError(f"a note has at most {LONGEST_NOTE} characters")
    place = note.rfind("\n\n")
    if place < 0 or not note.endswith("\n"):
        raise NoteError("no signed note: an empty line and signatures are missing")
    text, lines = note[: place + 1], note[place + 2 :].splitlines()
    _check_text(text)
    if not 0 < len(lines) <= MOST_SIGNATURES or "\n".join(lines) + "\n" != note[place + 2 :]:
        raise NoteError(f"a note has from 1 to {MOST_SIGNATURES} lines of signatures")
    return text, [_signature(line) for line in lines]


def _check_text(text: str) -> None:
    if not text.endswith("\n") or _CONTROL.search(text):
        raise NoteError("the text of a note ends in a line break and has no other control character")


def _signature(line: str) -> tuple[str, bytes, bytes]:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    signature = _decoded(encoded)
    if not line.startswith(_DASH) or not space or not _NAME.match(name) or signature is None:
        raise NoteError("a line of the signatures is not in its form")
    if len(signature) <= _ID_BYTES:
        raise NoteError("a signature is too short")
    return name, signature[:_ID_BYTES], signature[_ID_BYTES:]


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decoded(text: str) -> bytes | None:
    """The bytes whose one form in base64 is `text`, or `None`."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if _encoded(data) == text else None
