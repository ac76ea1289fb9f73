"""How often the authorization server may be asked: by all callers together, and by one address.

These limits keep a flood away from the program; they are per Envoy. They are generous, because many users share an
address behind a company's or a hosted client's egress. The finer ones, which count what clients and
people do across all replicas, are the authorization server's own (`oauth_core.limits.rate_limits`).

Three filters do it, one behind the other. The first limits each address over all paths together: an address that
asks on many paths cannot hold more connections than one that asks on a single path. The other two count each path
by itself. The second gives each address a share of its own and marks requests beyond that share; it refuses
nothing. The third lets marked requests share what `web_rate` allows. So however many requests some addresses send,
an address that stays within its share is served.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envoy_data_plane.envoy.config.core.v3 import RuntimeFractionalPercent
from envoy_data_plane.envoy.config.route.v3 import (
    RateLimit,
    RateLimitAction,
    RateLimitActionMaskedRemoteAddress,
    RateLimitActionRequestHeaders,
)
from envoy_data_plane.envoy.extensions.common.ratelimit.v3 import (
    LocalRateLimitDescriptor,
    RateLimitDescriptorEntry,
)
from envoy_data_plane.envoy.extensions.filters.http.local_ratelimit.v3 import LocalRateLimit
from envoy_data_plane.envoy.type.v3 import FractionalPercent, TokenBucket

from portcullis.envoy_config.caller import NETWORK
from portcullis.envoy_config.messages import add_if_absent, overwrite, seconds

if TYPE_CHECKING:
    from oauth_core.settings import EnvoySettings

BURST_SECONDS = 5
"""So many seconds' worth may come at once, by whoever was silent before."""

_ADDRESS = "masked_remote_address"
_NETWORK_BITS = 64
"""Of an IPv6 address. A household or a machine has a whole network of that size to itself."""
_MOST_ADDRESSES = 10_000
_RETRY_SECONDS = "1"
_ALL_TOGETHER = 4
"""Times `web_rate`: what all callers together may ask of one path, each within its share or not."""

BUSY = "x-portcullis-busy"
"""Marks a request beyond the share of its address. Callers' own copies are removed before any filter."""
_YES = "1"
_UNBOUNDED = 100_000_000


def unlimited() -> LocalRateLimit:
    """What holds where a route says nothing: no limit."""
    return LocalRateLimit(stat_prefix="authorization_server")


def per_address(settings: EnvoySettings) -> LocalRateLimit:
    """The first filter, for all routes to the authorization server: refuses what is beyond an address' limit.

    It belongs to the listener, since Envoy gives each route's own configuration buckets of its own.
    """
    return LocalRateLimit(
        stat_prefix="authorization_server_addresses",
        token_bucket=_bucket(_UNBOUNDED),
        filter_enabled=_percent(100),
        filter_enforced=_percent(100),
        rate_limits=[_by_address(settings)],
        descriptors=[_each_address(settings, settings.web_rate_per_address)],
        max_dynamic_descriptors=_MOST_ADDRESSES,
        response_headers_to_add=[add_if_absent("retry-after", _RETRY_SECONDS)],
    )


def marking(settings: EnvoySettings) -> LocalRateLimit:
    """The second filter, on a route to the authorization server: marks requests beyond their address' share."""
    return LocalRateLimit(
        stat_prefix="authorization_server_shares",
        token_bucket=_bucket(_UNBOUNDED),
        filter_enabled=_percent(100),
        filter_enforced=_percent(0),
        request_headers_to_add_when_not_enforced=[overwrite(BUSY, _YES)],
        rate_limits=[_by_address(settings)],
        descriptors=[_each_address(settings, settings.web_rate_reserved)],
        max_dynamic_descriptors=_MOST_ADDRESSES,
    )


def limited(settings: EnvoySettings) -> LocalRateLimit:
    """The third filter, on a route to the authorization server: refuses."""
    return LocalRateLimit(
        stat_prefix="authorization_server",
        token_bucket=_bucket(_ALL_TOGETHER * settings.web_rate),
        filter_enabled=_percent(100),
        filter_enforced=_percent(100),
        rate_limits=[_if_busy()],
        descriptors=[
            LocalRateLimitDescriptor(
                entries=[RateLimitDescriptorEntry(key=BUSY, value=_YES)], token_bucket=_bucket(settings.web_rate)
            ),
        ],
        response_headers_to_add=[add_if_absent("retry-after", _RETRY_SECONDS)],
    )


def _by_address(settings: EnvoySettings) -> RateLimit:
    if settings.trusted_proxies:
        network = RateLimitActionRequestHeaders(header_name=NETWORK, descriptor_key=NETWORK)
        return RateLimit(actions=[RateLimitAction(request_headers=network)])
    masked = RateLimitActionMaskedRemoteAddress(v4_prefix_mask_len=32, v6_prefix_mask_len=_NETWORK_BITS)
    return RateLimit(actions=[RateLimitAction(masked_remote_address=masked)])


def _if_busy() -> RateLimit:
    """Counts a request only where the header is there."""
    return RateLimit(
        actions=[
            RateLimitAction(request_headers=RateLimitActionRequestHeaders(header_name=BUSY, descriptor_key=BUSY))
        ]
    )


def _each_address(settings: EnvoySettings, per_second: int) -> LocalRateLimitDescriptor:
    """An entry without a value stands for every address, each with a bucket of its own."""
    return LocalRateLimitDescriptor(
        entries=[RateLimitDescriptorEntry(key=NETWORK if settings.trusted_proxies else _ADDRESS)],
        token_bucket=_bucket(per_second),
    )


def _percent(numerator: int) -> RuntimeFractionalPercent:
    return RuntimeFractionalPercent(default_value=FractionalPercent(numerator=numerator))


def _bucket(per_second: int) -> TokenBucket:
    return TokenBucket(max_tokens=per_second * BURST_SECONDS, tokens_per_fill=per_second, fill_interval=seconds(1))
