"""The folder of certificates: the account's key, the certificate with its key, and Envoy's copy.

account.pem     the key of the account at the authority
certificate.pem the private key and the certificate chain in use, in one file so that they always match
secret.json     the same in Envoy's format; written again from the others whenever it differs

Each file is replaced atomically: written to a temporary file, flushed to disk and moved. When the disk is full,
the old one stays.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from oauth_core.process import file_lock, private_files
from portcullis.certificates import secret
from portcullis.certificates.keys import new_private_key, self_signed
from portcullis.certificates.schedule import Validity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_CERTIFICATE_BEGINS = "-----BEGIN CERTIFICATE-----"


class FolderError(Exception):
    """The folder cannot be used. The message has the reason."""


@dataclass(frozen=True)
class Certificate:
    """A chain and its key, both PEM. `repr` shows neither."""

    chain: str
    key: str
    names: frozenset[str]
    validity: Validity

    def __repr__(self) -> str:
        return f"Certificate(names={sorted(self.names)!r}, validity={self.validity!r})"

    @classmethod
    def read(cls, text: str) -> Certificate:
        """The certificate in `text`, a private key followed by a chain. Raises `ValueError` if it is not one."""
        key, begin, rest = text.partition(_CERTIFICATE_BEGINS)
        leaf = x509.load_pem_x509_certificate((begin + rest).encode())
        private = serialization.load_pem_private_key(key.encode(), None)
        if private.public_key() != leaf.public_key():
            raise ValueError("key and certificate do not belong together")
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return cls(
            chain=begin + rest,
            key=key,
            names=frozenset(names.get_values_for_type(x509.DNSName)),
            validity=Validity(leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()),
        )


class CertificateFolder:
    """One folder, held by one process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.secret = root / "secret.json"
        self._account = root / "account.pem"
        self._certificate = root / "certificate.pem"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Lock the folder for this process inside the block, and create it if it does not exist. Raises
        `FolderError`.
        """
        with contextlib.ExitStack() as stack:
            try:
                self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
                stack.enter_context(file_lock.held(self.root / "lock"))
            except file_lock.HeldError:
                raise FolderError(f"another process keeps the certificates in {self.root}") from None
            except OSError as error:
                raise FolderError(f"{self.root}: {error.strerror or error}") from None
            yield

    def certificate(self) -> Certificate | None:
        """The certificate in use, or `None`. Raises `FolderError` when it is damaged."""
        try:
            return Certificate.read(self._certificate.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, x509.ExtensionNotFound) as error:
            raise FolderError(f"{self._certificate}: {error}") from None

    def install(self, certificate: Certificate) -> None:
        """Store `certificate` and give it to Envoy. Raises `OSError`; the old one then stays."""
        private_files.write(self._certificate, certificate.key + certificate.chain)
        self._show(certificate)

    def show_something(self, names: Sequence[str]) -> None:
        """Give Envoy the certificate in use, or a temporary self-signed one if there is none.

        Envoy needs a certificate to start, and must run before the authority can reach the gateway.
        """
        certificate = self.certificate()
        if certificate is not None:
            self._show(certificate)
        elif not self.secret.exists():
            key = new_private_key()
            private_files.write(self.secret, json.dumps(secret.of_texts(self_signed(key, names), key)))

    def account_key(self) -> str:
        """The account's key as PEM; created if there is none. Raises `FolderError`."""
        try:
            return self._account.read_text(encoding="utf-8")
        except FileNotFoundError:
            key = new_private_key()
        except OSError as error:
            raise FolderError(f"{self._account}: {error.strerror or error}") from None
        try:
            private_files.write(self._account, key)
        except OSError as error:
            raise FolderError(f"{self._account}: {error.strerror or error}") from None
        return key

    def _show(self, certificate: Certificate) -> None:
        text = json.dumps(secret.of_texts(certificate.chain, certificate.key))
        with contextlib.suppress(FileNotFoundError):
            if self.secret.read_text(encoding="utf-8") == text:
                return
        private_files.write(self.secret, text)
