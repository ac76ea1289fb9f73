"""The page `docs/hostile.md`, made of what `docs/hostile.json` keeps of the last complete run.

`python -m tests.hostile.table` writes the page again.
"""

from __future__ import annotations

import json
from pathlib import Path

_DOCS = Path(__file__).parents[2] / "docs"
PAGE, RESULTS = _DOCS / "hostile.md", _DOCS / "hostile.json"
COUNTS = (1, 10, 1000)
HONEST = 20

_PREFACE = f"""# Hostile addresses

What one, ten and a thousand hostile addresses can do to the others, made by `pytest tests/hostile`. At each
door the hostile addresses first send all they can. Then {HONEST} other addresses come, each with what one
person or client needs. The figures say how many of these are served. An IPv6 network of 64 bits counts as
one address everywhere.

| door | 1 hostile address | 10 | 1000 |
|---|---|---|---|
"""
_END = """
Where the last column says 0, that door is closed to newcomers while the flood goes on, and for at most a
minute after it. Callers whose token the check service knows are answered all the time, and documents that
were good before are still used.

**Connections.** Envoy takes 20,000. It cannot limit those of one address, so from half of them on it ends
idle ones sooner, at last after two seconds (`tests/envoy/test_fair_shares.py`); Envoy 1.36 does not. A
connection with an unfinished request is busy and is not ended sooner. Without a token its body must come
within 30 seconds, its headers within five, and one address may begin 100 requests a second at all paths of
the authorization server together (`web_rate_per_address`). So one address keeps some 3,500 connections busy
with unfinished bodies, and ten can take all 20,000. Unfinished headers are not counted: an address that
opens 4,000 connections a second can take all alone. Answers that a caller does not read over HTTP/2 can
keep a connection busy for five minutes.
All these are for the network before Envoy: HAProxy's
`conn_cur` ([proxies.md](proxies.md)), a cloud's load balancer, or the kernel's own limit of connections of
one address (`ct count` of nftables).

**More than a thousand.** A caller with an IPv6 network of 48 bits has 65,536 addresses here. Against as
many, only what stands before the gateway helps.
"""


def page(rows: dict[str, list[int]]) -> str:
    """The page that says what `rows` say: how many were served at each door, by number of hostile addresses."""
    lines = [f"| {door} | {' | '.join(f'{n} of {HONEST}' for n in served)} |\n" for door, served in rows.items()]
    return _PREFACE + "".join(lines) + _END


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")
