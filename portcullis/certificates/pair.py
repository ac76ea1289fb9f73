"""A certificate chain and its key in two files of the operator: read, checked to match, and followed when renewed.

There are many ways to renew: a link is removed and made again (certbot), files are moved into their place or
written over, or a whole folder is swapped (Kubernetes). So the follower reads the files again and again, and
compares their contents. Envoy gets a copy of both in one file, which is replaced when a new pair matches.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from oauth_core.process import private_files
from portcullis.certificates import secret

if TYPE_CHECKING:
    from pathlib import Path

    from oauth_core.settings import TlsSettings

_SMALLEST_RSA = 2048
_LONGEST = 1024 * 1024
_LASTING = 5
"""Looks."""

_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_WRONG_KIND = "is of a kind that Envoy does not accept; use RSA or ECDSA with P-256"


class PairError(Exception):
    """The files cannot be used. The message has the file and the reason, and no part of the key."""


class MissingFileError(PairError):
    """There is no such file on this machine."""


@dataclass(frozen=True)
class Pair:
    """A chain and its key, both PEM. `repr` shows neither. `ends` is in seconds since the epoch."""

    chain: str
    key: str
    ends: float

    def __repr__(self) -> str:
        return f"Pair(ends={self.ends!r})"

    @classmethod
    def read(cls, cert: Path, key: Path) -> Pair:
        """The pair in these two files. Raises `PairError` unless Envoy can use it."""
        chain, private_text = _text(cert), _text(key)
        try:
            certificates = x509.load_pem_x509_certificates(chain.encode())
        except ValueError:
            raise PairError(f"{cert} has no certificate in PEM form") from None
        try:
            private = serialization.load_pem_private_key(private_text.encode(), None)
        except TypeError:
            raise PairError(f"{key} is encrypted; Envoy needs a key without a passphrase") from None
        except ValueError:
            raise PairError(f"{key} has no private key in PEM form") from None
        except UnsupportedAlgorithm:
            raise PairError(f"{key} {_WRONG_KIND}") from None
        if isinstance(private, rsa.RSAPrivateKey):
            if private.key_size < _SMALLEST_RSA:
                raise PairError(f"{key} is an RSA key of {private.key_size} bits; Envoy needs {_SMALLEST_RSA}")
        elif not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name not in _CURVES:
            raise PairError(f"{key} {_WRONG_KIND}")
        try:
            fits = private.public_key() == certificates[0].public_key()
        except (ValueError, UnsupportedAlgorithm):
            fits = False
        if not fits:
            raise PairError(f"{key} does not belong to the first certificate in {cert}")
        return cls(chain, private_text, certificates[0].not_valid_after_utc.timestamp())

    def document(self) -> str:
        """The contents of the file that Envoy reads."""
        return json.dumps(secret.of_texts(self.chain, self.key))


@dataclass(frozen=True)
class Authorities:
    """The certificates of authorities, PEM. `ends` is when the first of them ends, in seconds since the epoch."""

    text: str
    ends: float

    @classmethod
    def read(cls, path: Path) -> Authorities:
        """The authorities in the file at `path`. Raises `PairError` unless it holds certificates."""
        text = _text(path)
        try:
            certificates = x509.load_pem_x509_certificates(text.encode())
        except ValueError:
            raise PairError(f"{path} has no certificate in PEM form") from None
        return cls(text, min(certificate.not_valid_after_utc.timestamp() for certificate in certificates))

    def document(self) -> str:
        """The file that Envoy reads."""
        return json.dumps(secret.of_authorities(self.text))


class _Follower(ABC):
    """Keeps a file of Envoy's the same as files of the operator's, as long as these can be used."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._fault = ""
        self._times = 0

    @abstractmethod
    def _read(self) -> Pair | Authorities:
        """The certificate and key in the operator's files. Raises `PairError`."""

    @abstractmethod
    def _in_use(self, ends: str) -> str:
        """That something new is in use, which ends at `ends`."""

    @property
    @abstractmethod
    def _before(self) -> str:
        """That what was there before stays in use."""

    def look(self) -> list[str]:
        """Read the files, and replace Envoy's if they differ from it and can be used.

        Returns messages for the operator. Raises `OSError` if Envoy's file cannot be written.
        """
        try:
            found = self._read()
        except PairError as error:
            return self._faulty(str(error))
        self._fault = ""
        document = found.document()
        # Bytes: a damaged file of Envoy's may be no UTF-8, and is replaced.
        if self._target.exists() and self._target.read_bytes() == document.encode():
            return []
        private_files.write(self._target, document)
        ends = datetime.fromtimestamp(found.ends, UTC).isoformat()
        past = "; it has EXPIRED" if found.ends <= time.time() else ""
        return [f"{self._in_use(ends)}{past}"]

    def _faulty(self, fault: str) -> list[str]:
        """Report a fault once, after some looks: in the middle of a renewal the files are faulty for a moment."""
        self._times = self._times + 1 if fault == self._fault else 1
        self._fault = fault
        return [f"{fault}; {self._before}"] if self._times == _LASTING else []


class Follower(_Follower):
    """Copies a certificate chain and its key to the target whenever they change and fit each other."""

    def __init__(self, cert: Path, key: Path, target: Path) -> None:
        super().__init__(target)
        self._cert, self._key = cert, key

    def _read(self) -> Pair:
        return Pair.read(self._cert, self._key)

    def _in_use(self, ends: str) -> str:
        return f"{self._cert}: a new certificate is in use, valid until {ends}"

    @property
    def _before(self) -> str:
        return "the certificate before stays in use"


class AuthoritiesFollower(_Follower):
    """Follows the authorities whose client certificates count. It does not end connections that are open."""

    def __init__(self, path: Path, target: Path) -> None:
        super().__init__(target)
        self._path = path

    def _read(self) -> Authorities:
        return Authorities.read(self._path)

    def _in_use(self, ends: str) -> str:
        return f"{self._path}: new authorities of client certificates are in use, the first valid until {ends}"

    @property
    def _before(self) -> str:
        return "the authorities before stay in use"


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(_LONGEST + 1)
    except FileNotFoundError:
        raise MissingFileError(f"{path}: No such file or directory") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PairError(f"{path}: {getattr(error, 'strerror', None) or 'is not PEM text'}") from None
    if len(text) > _LONGEST:
        raise PairError(f"{path} is too long for a certificate or a key")
    return text


def faults_of_files(settings: TlsSettings) -> list[str]:
    """The faults of the files that the settings name, for Envoy on this machine, one sentence each."""
    return [f"{name}: {error}" for name, error in _errors_of_files(settings)]


def faults_of_files_here(settings: TlsSettings) -> list[str]:
    """As `faults_of_files`, but a missing file is no fault: it may be on Envoy's machine."""
    errors = _errors_of_files(settings)
    return [f"{name}: {error}" for name, error in errors if not isinstance(error, MissingFileError)]


def _errors_of_files(settings: TlsSettings) -> list[tuple[str, PairError]]:
    errors = []
    if settings.tls_cert is not None and settings.tls_key is not None:
        try:
            Pair.read(settings.tls_cert, settings.tls_key)
        except PairError as error:
            errors.append(("tls.cert and tls.key", error))
    if settings.tls_client_ca is not None:
        try:
            Authorities.read(settings.tls_client_ca)
        except PairError as error:
            errors.append(("tls.client_ca", error))
    return errors
