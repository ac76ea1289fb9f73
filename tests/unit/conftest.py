"""Fixtures of many unit tests. Keys are made once, because RSA takes long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from oauth_core.jose.signing_keys import Algorithm, SigningKey, generate_key

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def signing_keys() -> dict[Algorithm, SigningKey]:
    """One key of each algorithm."""
    algorithms: tuple[Algorithm, ...] = ("ES256", "ES384", "RS256", "EdDSA", "Ed25519")
    return {algorithm: generate_key(algorithm, now=1) for algorithm in algorithms}


@pytest.fixture(scope="session")
def signing_key(signing_keys: dict[Algorithm, SigningKey]) -> SigningKey:
    """The key of the default algorithm."""
    return signing_keys["ES256"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A path where a test may write a settings file."""
    return tmp_path / "portcullis.toml"
