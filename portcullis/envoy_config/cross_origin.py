"""A filter for what Envoy's CORS filter lacks: `Vary: Origin` where it is missing, and header names by prefix.

Envoy's filter names one origin in each answer, without `Vary`. A browser that caches
such an answer would use it for a page of another origin, and then refuse that page to read it (RFC 9110 section
12.5.5).

From revision 2026-07-28 on an MCP server may choose the names of headers that begin with `Mcp-Param-`, and a
preflight has to allow each by its name.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter

from portcullis.envoy_config.messages import packed

VARY = "portcullis.vary"
"""The name of the filter. It is before the CORS filter, and so sees that filter's answers."""

_SCRIPT = """
local function names_in(value)
  return value:gmatch("[^,%s]+")
end

function envoy_on_request(handle)
  local headers = handle:headers()
  if headers:get(":method") ~= "OPTIONS" then
    return
  end
  local found = {}
  for name in names_in((headers:get("access-control-request-headers") or ""):lower()) do
    if #found < 32 and #name <= 128 and name:find("^mcp%-param%-[%w!#$&'*+.^_`|~-]+$") then
      found[#found + 1] = name
    end
  end
  if #found > 0 then
    handle:streamInfo():dynamicMetadata():set("portcullis.vary", "parameters", table.concat(found, ", "))
  end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local allowed = headers:get("access-control-allow-headers")
  if allowed ~= nil then
    local asked = handle:streamInfo():dynamicMetadata():get("portcullis.vary")
    if asked ~= nil and asked["parameters"] ~= nil then
      headers:replace("access-control-allow-headers", allowed .. ", " .. asked["parameters"])
    end
  end
  for index = 0, headers:getNumValues("vary") - 1 do
    for name in names_in(headers:getAtIndex("vary", index):lower()) do
      if name == "origin" or name == "*" then
        return
      end
    end
  end
  headers:add("vary", "Origin")
end
"""


def cross_origin_filter() -> HttpFilter:
    """The filter, with the same script for all routes."""
    return HttpFilter(name=VARY, typed_config=packed(Lua(default_source_code=DataSource(inline_string=_SCRIPT))))
