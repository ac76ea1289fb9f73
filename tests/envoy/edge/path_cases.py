"""All variants of writing a path, and the expected result of each."""

from __future__ import annotations

from tests.envoy.edge.case import Case
from tests.envoy.edge.exchange import http1


def _path(rule: str, target: str, wanted: tuple[str, ...], *reaches: str) -> Case:
    return Case("Paths", rule, f"GET {ascii(target)[1:-1]}", http1("GET", target), wanted, reaches)


_NO_GUESSING = "What two programs could read differently is refused"
_STRAIGHT = "A roundabout path is made straight, and then checked"
_NOBODY = "What only looks alike leads nowhere"
PATHS = (
    *(
        _path(_NO_GUESSING, target, ("400",))
        for target in (
            "/time%2fmcp",
            "/time%2Fmcp",
            "/time/mcp/..%2f..%2ftoken",
            "/time%5cmcp",
            "/time/mcp%5Cx",
            "/time/mcp%00",
        )
    ),
    *(
        _path(_NO_GUESSING, target, ("400", "404"))
        for target in (
            "/time/mcp/%252e%252e/x",
            "/time/mcp/%c0%ae%c0%ae/x",
            "/time/mcp/%c0%af",
            "/time/mcp%0d%0aX-User-Id:%20forged",
            "/time/mcp/%7f",
            "/time/mcp/\xe9",
            "/time/mcp;x=/../token",
            "/time/mcp/a;b",
            "/time/mcp%23",
            "/time/mcp%3f",
            "/time/mcp#x",
            "/time/mcp/\x01",
            "*",
            "time/mcp",
            "//evil.example/time/mcp/..",
        )
    ),
    _path("A slash at the end changes nothing", "/time/mcp/", ("200",), "time /mcp"),
    _path(_STRAIGHT, "/time/./mcp", ("200",), "time /mcp"),
    _path(_STRAIGHT, "//time//mcp", ("200",), "time /mcp"),
    _path(_STRAIGHT, "/token/../time/mcp", ("200",), "time /mcp"),
    _path(_STRAIGHT, "/time/mcp/x/%2e%2e/deep", ("200",), "deep /a/b/"),
    _path(_STRAIGHT, "/time\\mcp", ("200",), "time /mcp"),
    _path(_STRAIGHT, "/time/mcp/../../token", ("200",), "oauth_web /token"),
    *(
        _path(_NOBODY, target, ("404",))
        for target in (
            "/Time/mcp",
            "/TIME/MCP",
            "/time/mcpx",
            "/time/mc",
            "/time",
            "/tokens",
            "/time/mcp/..",
            "/unknown?/time/mcp",
        )
    ),
)
