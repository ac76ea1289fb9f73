"""Functions that make the small messages of an Envoy configuration."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    Pipe,
    SocketAddress,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher
from envoy_data_plane.google.protobuf import Any

from oauth_core.net.listen_addresses import ListenAddress, UnixAddress

if TYPE_CHECKING:
    from collections.abc import Iterator

packed = Any.pack
"""Wrap a message as `google.protobuf.Any`, type URL included."""


@contextmanager
def fields_of_older_envoys() -> Iterator[None]:
    """Run a block that uses fields which newer versions of Envoy deprecate, and the oldest supported one needs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def seconds(number: float) -> timedelta:
    """A duration of this number of seconds."""
    return timedelta(seconds=number)


def address(endpoint: ListenAddress) -> Address:
    """The address of a listener or of an upstream."""
    if isinstance(endpoint, UnixAddress):
        return Address(pipe=Pipe(path=str(endpoint.path)))
    return Address(socket_address=SocketAddress(address=endpoint.host, port_value=endpoint.port))


def exactly(text: str) -> StringMatcher:
    """Match this text and no other."""
    return StringMatcher(exact=text)


def matching(pattern: str) -> StringMatcher:
    """Match the whole of a text against an RE2 pattern."""
    return StringMatcher(safe_regex=RegexMatcher(regex=pattern))


def overwrite(name: str, value: str) -> HeaderValueOption:
    """Set a header, and replace its value if it has one."""
    return _header(name, value, HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD)


def append(name: str, value: str) -> HeaderValueOption:
    """Add a value to a header, and keep those that it has."""
    return _header(name, value, HeaderValueOptionHeaderAppendAction.APPEND_IF_EXISTS_OR_ADD)


def add_if_absent(name: str, value: str) -> HeaderValueOption:
    """Set a header unless the answer already has it."""
    return _header(name, value, HeaderValueOptionHeaderAppendAction.ADD_IF_ABSENT)


def _header(name: str, value: str, action: HeaderValueOptionHeaderAppendAction) -> HeaderValueOption:
    return HeaderValueOption(header=HeaderValue(key=name, value=value), append_action=action)
