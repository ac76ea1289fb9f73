"""The page `docs/generated/hostile.md`, made from `docs/generated/hostile.json`, the results of the last complete
run.

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

This page shows what one, ten and a thousand hostile addresses can do to others; `pytest tests/system/hostile`
writes it. In each test the hostile addresses first send all they can. Then {HONEST} other addresses come, each
with the requests of one person or client. The figures are how many of these are served. An IPv6 network of 64 bits
counts as one address everywhere.

The tests send real requests: to Envoy, to `oauth_web` with Redis, and to a check service. Three things are
shortened. Connections are opened at the module that counts them, outside Envoy. For a thousand addresses, a part
of what they send is written into the counters beforehand. For a thousand addresses, first uses and silent hosts
are tested at the queue and at the slots alone: how much of a flood a running program still holds depends on the
speed of the machine.

| target | 1 hostile address | 10 | 1000 |
|---|---|---|---|
"""
_END = """
Where the last column is 0, new callers are refused during the flood and for at most a
minute after it. Callers with a token that the check service knows are always answered, and documents that
were valid before are still used.

**Connections.** Envoy accepts 20,000. One address may have 1,000 (`envoy.connections_per_address`), and fewer when
they become scarce: of `free` connections it may have free² / 400,000, and always one. They count from the moment
Envoy accepts them, so unfinished handshakes, unfinished headers and silent connections count too. One hostile
address that takes all it can leaves 19,000 free, ten leave 13,000 and a thousand leave 200; each new address may
then have 900, 400 and one. Envoy closes further connections at once. A hash of 20 bits with a secret key assigns a
counter to each address: with a thousand hostile addresses one new address in a thousand shares a counter
with one of them.

Envoy does not end an accepted connection because others come. From 10,000 on it ends idle connections sooner,
at last after two seconds (`tests/envoy/test_fair_shares.py`); Envoy 1.36 does not. A connection with an unfinished
request is busy. Without a token its headers must arrive within five seconds and its body within 30. An answer
that its caller does not read over HTTP/2 ends after five minutes.

Behind a proxy of yours (`envoy.trusted_proxies`) all connections come from the proxy, and Envoy does not count
them. The proxy must bound the connections of one address, as HAProxy does with `conn_cur`
([proxies.md](../proxies.md)).

**More than a thousand.** A caller with an IPv6 network of 48 bits has 65,536 addresses here. Some 1,300 addresses
that take all they can use all connections of Envoy. Against so many, only a protection before the gateway helps:
that of a balancer, or a limit in the kernel on the connections of one network:

<!-- begin kernel -->
```
iptables -A INPUT -p tcp --syn --dport 443 -m connlimit --connlimit-above 200 -j REJECT --reject-with tcp-reset
ip6tables -A INPUT -p tcp --syn --dport 443 -m connlimit --connlimit-above 200 --connlimit-mask 64 -j REJECT
```
<!-- end kernel -->
"""


def page(rows: dict[str, list[int]]) -> str:
    """The page for `rows`: the number of callers that were served at each target, by number of
    hostile addresses.
    """
    lines = [f"| {door} | {' | '.join(f'{n} of {HONEST}' for n in served)} |\n" for door, served in rows.items()]
    return _PREFACE + "".join(lines) + _END


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")
