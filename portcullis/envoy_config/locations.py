"""A filter for redirects of services, so that no `Location` names an upstream.

A service makes absolute URLs from the `Host` that Envoy sends it, which is the upstream's. Below a service's path,
where pages may redirect, the filter rewrites such a `Location` to the public address of the service. If it
cannot, it removes the header.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua, LuaPerRoute
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter

from oauth_core.net.public_urls import origin_of
from portcullis.envoy_config.messages import packed

if TYPE_CHECKING:
    from envoy_data_plane.google.protobuf import Any

    from oauth_core.model import Service
    from portcullis.envoy_config.topology import Upstream

LOCATIONS = "envoy.filters.http.lua"

# Names without a dot, IP addresses and the upstream's name belong to a network behind the gateway.
_SCRIPT = """
local public, origin, root, upstream = {public}, {origin}, {root}, {upstream}

local function is_inside(host)
  return host == upstream or not host:find("%.") or host:find("^[%d.]+$") ~= nil or host:find("[%[@]") ~= nil
    or host:find("%.internal$") ~= nil or host:find("%.local$") ~= nil or host:find("%.svc$") ~= nil
end

function envoy_on_response(handle)
  local location = handle:headers():get("location")
  if location == nil then
    return
  end
  if location:sub(1, #origin) == origin and location:sub(#origin + 1):find("^[/?#]") then
    return
  end
  local authority, rest = location:match("^%a[%w+.-]*://([^/?#\\\\]*)(.*)$")
  if authority == nil then
    authority, rest = location:match("^[/\\\\][/\\\\]([^/?#\\\\]*)(.*)$")
  end
  if authority ~= nil then
    local host = authority:lower():gsub(":%d*$", "")
    if not is_inside(host) then
      return
    end
  elseif location:sub(1, 1) == "/" then
    rest = location
  else
    return
  end
  local after = rest:sub(#root + 1)
  if rest:sub(1, #root) == root and (after == "" or after:find("^[/?#]")) then
    handle:headers():replace("location", public .. after)
  else
    handle:headers():remove("location")
  end
end
"""


def locations_filter() -> HttpFilter:
    """The filter, which is off unless a route sets a script."""
    return HttpFilter(name=LOCATIONS, disabled=True, typed_config=packed(Lua()))


def rewritten(service: Service, upstream: Upstream) -> Any:
    """The script for the routes of `service`: in redirects, its public address replaces its internal one."""
    script = _SCRIPT.format(
        public=json.dumps(service.resource),
        origin=json.dumps(origin_of(service.resource)),
        root=json.dumps(upstream.path.rstrip("/")),
        upstream=json.dumps(upstream.host.rpartition(":")[0] or upstream.host),
    )
    return packed(LuaPerRoute(source_code=DataSource(inline_string=script)))
