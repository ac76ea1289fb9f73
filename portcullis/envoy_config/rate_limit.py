"""How often the authorization server may be asked: by everybody together, and by one address.

These limits keep a flood away from the program; they are per Envoy and per route, and generous, because many users
share an address behind a company's or a hosted client's egress. The finer ones, which count what clients and
people do across all replicas, are the authorization server's own (`oauth_core.rate_limits`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envoy_data_plane.envoy.config.core.v3 import RuntimeFractionalPercent
from envoy_data_plane.envoy.config.route.v3 import (
    RateLimit,
    RateLimitAction,
    RateLimitActionMaskedRemoteAddress,
)
from envoy_data_plane.envoy.extensions.common.ratelimit.v3 import (
    LocalRateLimitDescriptor,
    RateLimitDescriptorEntry,
)
from envoy_data_plane.envoy.extensions.filters.http.local_ratelimit.v3 import LocalRateLimit
from envoy_data_plane.envoy.type.v3 import FractionalPercent, TokenBucket

from portcullis.envoy_config.messages import add_if_absent, seconds

if TYPE_CHECKING:
    from oauth_core.settings import EnvoySettings

BURST_SECONDS = 5
"""So many seconds' worth may come at once, by whoever was silent before."""

_ADDRESS = "masked_remote_address"
_NETWORK_BITS = 64
"""Of an IPv6 address. A household or a machine has a whole network of that size to itself."""
_MOST_ADDRESSES = 10_000
_RETRY_SECONDS = "1"


def unlimited() -> LocalRateLimit:
    """What holds where a route says nothing: no limit."""
    return LocalRateLimit(stat_prefix="authorization_server")


def limited(settings: EnvoySettings) -> LocalRateLimit:
    """For a route to the authorization server."""
    always = RuntimeFractionalPercent(default_value=FractionalPercent(numerator=100))
    return LocalRateLimit(
        stat_prefix="authorization_server",
        token_bucket=_bucket(settings.web_rate),
        filter_enabled=always,
        filter_enforced=always,
        rate_limits=[
            RateLimit(
                actions=[
                    RateLimitAction(
                        masked_remote_address=RateLimitActionMaskedRemoteAddress(
                            v4_prefix_mask_len=32, v6_prefix_mask_len=_NETWORK_BITS
                        )
                    )
                ]
            )
        ],
        # An entry without a value stands for every address, each with a bucket of its own.
        descriptors=[
            LocalRateLimitDescriptor(
                entries=[RateLimitDescriptorEntry(key=_ADDRESS)],
                token_bucket=_bucket(settings.web_rate_per_address),
            )
        ],
        max_dynamic_descriptors=_MOST_ADDRESSES,
        response_headers_to_add=[add_if_absent("retry-after", _RETRY_SECONDS)],
    )


def _bucket(per_second: int) -> TokenBucket:
    return TokenBucket(max_tokens=per_second * BURST_SECONDS, tokens_per_fill=per_second, fill_interval=seconds(1))
