"""The caller's address behind the operator's proxies: the one that they name, without a port.

Envoy reads `X-Forwarded-For` too, but not an address with a port, as some clouds write it. It then uses the
address of the proxy itself, and all callers would share the limits of one address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua, LuaPerRoute
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter

from portcullis.envoy_config.messages import packed

if TYPE_CHECKING:
    from envoy_data_plane.google.protobuf import Any

CALLER = "portcullis.caller"
"""The name of the filter."""

ADDRESS = "x-portcullis-address"
"""The header with the caller's address for the authorization server. Callers' own copies are removed before any
filter."""

NETWORK = "x-portcullis-network"
"""The header by which the limits per address count a caller: its address, or its network of 64 bits."""

# Envoy has added its peer, the last proxy, to the header. The entries before it are those of the trusted proxies.
_SCRIPT = """
local function address_in(entry)
  entry = entry:match("^%s*(.-)%s*$")
  local plain = entry:match("^%[([%x:.]+)%]$") or entry:match("^%[([%x:.]+)%]:%d+$")
    or entry:match("^(%d+%.%d+%.%d+%.%d+)$") or entry:match("^(%d+%.%d+%.%d+%.%d+):%d+$")
  if plain == nil and entry:find(":") and entry:find("^[%x:.]+$") then
    plain = entry
  end
  return plain and (plain:lower():match("^::ffff:(%d+%.%d+%.%d+%.%d+)$") or plain:lower())
end

local function groups_of(text)
  local groups = {}
  for group in text:gmatch("[^:]+") do
    groups[#groups + 1] = group:gsub("^0+(%x)", "%1")
  end
  return groups
end

local function network_of(address)
  if not address:find(":") then
    return address
  end
  local before, after = address:match("^(.-)::(.*)$")
  local groups = groups_of(before or address)
  if before ~= nil then
    local rest = groups_of(after)
    while #groups + #rest < 8 do
      groups[#groups + 1] = "0"
    end
    for _, group in ipairs(rest) do
      groups[#groups + 1] = group
    end
  end
  return table.concat(groups, ":", 1, math.min(4, #groups)) .. "::/64"
end

function envoy_on_request(handle)
  local headers, entries = handle:headers(), {}
  for entry in (headers:get("x-forwarded-for") or ""):gmatch("[^,]+") do
    entries[#entries + 1] = entry
  end
  local named = entries[#entries - TRUSTED_PROXIES]
  local address = named and address_in(named) or address_in(entries[#entries] or "")
  if address ~= nil then
    headers:replace("ADDRESS", address)
    headers:replace("NETWORK", network_of(address))
  end
end
"""


def caller_filter() -> HttpFilter:
    """The filter, which is off unless a route sets a script."""
    return HttpFilter(name=CALLER, disabled=True, typed_config=packed(Lua()))


def named_by(trusted_proxies: int) -> Any:
    """The script for a route to the authorization server, behind this number of proxies."""
    script = _SCRIPT.replace("TRUSTED_PROXIES", str(trusted_proxies))
    script = script.replace("ADDRESS", ADDRESS).replace("NETWORK", NETWORK)
    return packed(LuaPerRoute(source_code=DataSource(inline_string=script)))
