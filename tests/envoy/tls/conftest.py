"""An edge with a certificate from files, for tests that do not change it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from portcullis.certificates import secret
from tests.envoy.tls.edge import HOST, TIME, Edge, edge
from tests.support.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that signs the gateway's certificates."""
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="session")
def a_gateway(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Edge]:
    """An edge with a certificate in two files and no other setting."""
    identity = authority.identity(HOST, TIME)
    path = tmp_path_factory.mktemp("secret") / "secret.json"
    path.write_text(json.dumps(secret.of_files(identity.cert, identity.key)), encoding="utf-8")
    with edge(authority.cert, path, tls_cert=identity.cert, tls_key=identity.key) as running:
        yield running
