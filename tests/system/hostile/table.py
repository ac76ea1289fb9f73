"""The page `docs/generated/hostile.md`, made of what `docs/generated/hostile.json` keeps of the last complete run.

`python -m tests.system.hostile.table` writes the page again.
"""

from __future__ import annotations

import json

from tests.support.project import ROOT

_GENERATED = ROOT / "docs" / "generated"
PAGE, RESULTS = _GENERATED / "hostile.md", _GENERATED / "hostile.json"
COUNTS = (1, 10, 1000)
HONEST = 20

_PREFACE = f"""# Hostile addresses

What one, ten and a thousand hostile addresses can do to the others, made by `pytest tests/system/hostile`. At each
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

**Connections.** Envoy takes 20,000. One address may have 1,000 (`connections_per_address`), and fewer when
they become scarce: of `free` ones it may have free² / 400,000, and always one. They count from the moment
Envoy accepts them, so unfinished handshakes, unfinished headers and silent connections count too. One hostile
address that takes all it can leaves 19,000 free, ten leave 13,000 and a thousand leave 200; each newcomer may
then have 900, 400 and one. Further connections are closed at once. Which count belongs to an address is a
hash of 20 bits with a secret key: with a thousand hostile addresses one newcomer in a thousand shares a count
with one of them.

A connection that was accepted is not ended because others come. From 10,000 on Envoy ends idle ones sooner,
at last after two seconds (`tests/envoy/test_fair_shares.py`); Envoy 1.36 does not. One with an unfinished
request is busy. Without a token its headers must come within five seconds and its body within 30. An answer
that its caller does not read over HTTP/2 ends after five minutes.

Behind a proxy of yours (`trusted_proxies`) all connections come from it, and Envoy counts none. The proxy must
bound those of one address, as HAProxy does with `conn_cur` ([proxies.md](../proxies.md)).

**More than a thousand.** A caller with an IPv6 network of 48 bits has 65,536 addresses here. Some 1,300
that take all they can have all connections of Envoy. Against as many, only what stands before the gateway helps:
a balancer's own protection, or a limit of connections of one network in the kernel:

<!-- begin kernel -->
```
iptables -A INPUT -p tcp --syn --dport 443 -m connlimit --connlimit-above 200 -j REJECT --reject-with tcp-reset
ip6tables -A INPUT -p tcp --syn --dport 443 -m connlimit --connlimit-above 200 --connlimit-mask 64 -j REJECT
```
<!-- end kernel -->
"""


def page(rows: dict[str, list[int]]) -> str:
    """The page that says what `rows` say: how many were served at each door, by number of hostile addresses."""
    lines = [f"| {door} | {' | '.join(f'{n} of {HONEST}' for n in served)} |\n" for door, served in rows.items()]
    return _PREFACE + "".join(lines) + _END


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")
