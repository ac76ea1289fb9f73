"""One rule at the edge, and one request that tests it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.envoy.edge.exchange import Http1, Http2

FORGED = "forged"
"""The identity that a caller claims in these requests; no server behind Envoy may ever receive it."""

TIME = ("time /mcp",)
"""The request that reaches the service `time`."""


@dataclass(frozen=True)
class Case:
    """`sent` describes `request` in short.

    `wanted` are the accepted answers. `reaches` are the requests that must arrive behind Envoy, each a server
    and its target, in order; by default none may arrive.
    """

    section: str
    rule: str
    sent: str
    request: Http1 | Http2
    wanted: tuple[str, ...]
    reaches: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    """Texts that the answer must contain, regardless of upper and lower case."""
    gate: str = "usual"

    @property
    def name(self) -> str:
        """A name that no other case has."""
        return f"{self.section}: {self.sent}"
