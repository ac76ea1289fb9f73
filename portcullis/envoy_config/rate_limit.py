"""Rate limits on requests to the authorization server: of all callers together, and of one address.

These limits keep a flood away from the program; they are per Envoy. They are generous, because many users share an
address behind a company's or a hosted client's egress. The authorization server has stricter limits, which count
clients and people across all replicas (`oauth_core.limits.rate_limits`).

There are three filters, one after the other. The first limits each address over all paths together: an address
with requests on many paths cannot hold more connections than one with requests on a single path. The other two
count each path separately. The second gives each address a share and marks requests beyond that share; it does not
refuse. The third lets all marked requests share `envoy.web_rate`. So however many requests some addresses send,
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
"""A caller that was silent may send the requests of this number of seconds at once."""

_ADDRESS = "masked_remote_address"
_NETWORK_BITS = 64
"""Of an IPv6 address. A household or a machine usually has a whole network of that size."""
_MOST_ADDRESSES = 10_000
_RETRY_SECONDS = "1"
_ALL_TOGETHER = 4
"""Times `envoy.web_rate`: the limit of all callers together on one path, within their shares or not."""

BUSY = "x-portcullis-busy"
"""Marks a request beyond the share of its address. Callers' own copies are removed before any filter."""
_YES = "1"
_UNBOUNDED = 100_000_000


def unlimited() -> LocalRateLimit:
    """The default of all routes: no limit."""
    return LocalRateLimit(stat_prefix="authorization_server")


def per_address(settings: EnvoySettings) -> LocalRateLimit:
    """The first filter, for all routes to the authorization server: refuses requests beyond an address' limit.

    It belongs to the listener, because Envoy gives each route's configuration separate buckets.
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
    """The third filter, on a route to the authorization server: refuses requests beyond the common limits."""
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
    """Count a request only if it has the header `BUSY`."""
    return RateLimit(
        actions=[
            RateLimitAction(request_headers=RateLimitActionRequestHeaders(header_name=BUSY, descriptor_key=BUSY))
        ]
    )


def _each_address(settings: EnvoySettings, per_second: int) -> LocalRateLimitDescriptor:
    """A descriptor for every address, each with a separate bucket: its entry has no value."""
    return LocalRateLimitDescriptor(
        entries=[RateLimitDescriptorEntry(key=NETWORK if settings.trusted_proxies else _ADDRESS)],
        token_bucket=_bucket(per_second),
    )


def _percent(numerator: int) -> RuntimeFractionalPercent:
    return RuntimeFractionalPercent(default_value=FractionalPercent(numerator=numerator))


def _bucket(per_second: int) -> TokenBucket:
    return TokenBucket(max_tokens=per_second * BURST_SECONDS, tokens_per_fill=per_second, fill_interval=seconds(1))
