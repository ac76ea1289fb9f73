"""The options of a run, and which of them exclude each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oauth_core.net.listen_addresses import UnixAddress, parse
from portcullis.bench import peers
from portcullis.bench.runner import RunPlan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from oauth_core.jose.signing_keys import Algorithm

_WARM_UP = 1.0


@dataclass(frozen=True)
class BenchOptions:
    """The options of the command line, whose help describes each."""

    seconds: float = 5.0
    rounds: int = 3
    connections: int = 4
    streams: int = 8
    tokens: int = 1000
    cold: bool = False
    rate: float | None = None
    share: float | None = None
    processes: int = 1
    generator: str = "auto"
    workers: int | None = None
    transport: str | None = None
    algorithm: Algorithm = "ES256"
    through_envoy: bool = False
    envoy_workers: int = 1
    names: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    revocation: bool = False
    floods: tuple[str, ...] = ()
    address: str | None = None
    token_file: Path | None = None
    owned: bool = False

    def plan(self, tokens: int, rate: float) -> RunPlan:
        """How services are measured, with this number of tokens; `rate` is that of an open loop."""
        return RunPlan(
            seconds=self.seconds,
            warm_up=min(_WARM_UP, self.seconds / 2),
            rounds=self.rounds,
            connections=self.connections,
            streams=self.streams,
            processes=self.processes,
            tokens=tokens,
            mode="once" if self.cold else "open" if rate else "closed",
            rate=rate,
        )

    @property
    def is_open(self) -> bool:
        """Whether requests are sent at a rate."""
        return self.rate is not None or self.share is not None

    @property
    def fits_external(self) -> bool:
        """Whether another generator than ours can make this load."""
        return self.tokens == 1 and not (self.cold or self.is_open or self.through_envoy or self.address)

    def faults(self) -> Iterator[str]:
        """The faults in the options, each in a line."""
        yield from self._faults_of_elsewhere()
        if "jwt_authn" in self.names and not self.through_envoy:
            yield "jwt_authn is a part of Envoy: give --through-envoy too"
        if len(set(self.names)) < len(self.names):
            yield "a --peer is given twice"
        yield from self._faults_of_variants()
        if self.cold and self.floods:
            yield "--flood needs callers whose tokens are known: leave --cold out"
        if self.cold and self.is_open:
            yield "--cold and --open-loop exclude each other"
        if self.cold and self.tokens < self.rounds:
            yield "--cold needs at least one token for each round"
        if self.generator in {"h2load", "ghz"} and not self.fits_external:
            yield (
                f"--generator {self.generator} knows only a closed loop with one token, straight to a service "
                "started here: give --tokens 1"
            )
        for name in self.names:
            if not peers.is_peer(name):
                yield f"--peer {name} is neither {', '.join(peers.NAMES)}, all nor an address"
        for address in filter(None, (self.address, *self.names)):
            if not (self.owned or is_near(address)):
                yield f"{address} is not this machine; load only what is yours, and say so: --i-own-this-host"

    def _faults_of_variants(self) -> Iterator[str]:
        if len(set(self.variants)) < len(self.variants):
            yield "a --with is given twice"
        if "second-worker" in self.variants and self.workers is None:
            yield "--with second-worker needs to know how many there are without it: give --workers 1"
        if "no-answer-filters" in self.variants and not self.through_envoy:
            yield "--with no-answer-filters is about filters of Envoy: give --through-envoy too"

    def _faults_of_elsewhere(self) -> Iterator[str]:
        if self.address is None:
            if self.token_file is not None:
                yield "--token-file goes with --address"
            return
        if not peers.is_address(self.address):
            yield f"--address {self.address} is neither host:port nor unix:/path"
        if self.token_file is None:
            yield "--address needs --token-file: tokens that are alive there"
        ours = {
            "--revocation": self.revocation,
            "--flood": self.floods,
            "--through-envoy": self.through_envoy,
            "--transport": self.transport,
            "--workers": self.workers,
            "--peer": self.names,
            "--with": self.variants,
        }
        for option, given in ours.items():
            if given:
                yield f"{option} is for a service started here; leave --address out"


def is_near(address: str) -> bool:
    """Whether an address is on this machine, so that load on it disturbs no other system. Names of peers are."""
    if not peers.is_address(address):
        return True
    listen_address = parse(address)
    return isinstance(listen_address, UnixAddress) or listen_address.is_loopback
