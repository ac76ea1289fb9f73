"""The official TypeScript SDKs accept the OpenID discovery document, whose REQUIRED members they check."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from tests.system.clients import node

if TYPE_CHECKING:
    from tests.support.gateway import RunningGateway


def test_both_typescript_sdks_accept_the_openid_discovery_document(short_lived: RunningGateway) -> None:
    done = subprocess.run(
        ["node", str(node.HERE / "typescript_discovery.mjs"), short_lived.url],
        env={"PATH": node.path()},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    understood = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(understood) == 2
    for document in understood:
        assert document["issuer"] == short_lived.url
        assert document["token_endpoint"] == f"{short_lived.url}/token"
        assert document["subject_types_supported"] == ["public"], "the OpenID document, and not RFC 8414's"
