"""The settings of one MCP service behind the gateway."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from oauth_core.limits.call_limits import ServiceLimits, ToolLimit
from oauth_core.settings.definitions import Setting
from oauth_core.settings.permission_names import Name, Text
from oauth_core.settings.roles import (
    QuotaText,
    RateText,
    ServicePermissions,
    Title,
    call_limits,
)


class ServiceSettings(BaseModel):
    """One `[[services]]` table. Exactly one of `upstream` and `command` defines where the service is.

    `portcullis up` runs a `command`: a stdio server is bridged to HTTP; with `transport = "http"` the command
    serves streamable HTTP itself, at path `/mcp` of the Unix socket that replaces `{socket}` in its arguments. Of
    the operator's environment it sees what every program needs and the variables in `pass_environment`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    name: Annotated[
        str,
        Setting("A short name in lower case; it appears in logs and in the scope."),
    ] = Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")
    title: Annotated[
        str | None,
        Setting(
            "The text for people on the consent page.",
            default_text="the name",
        ),
    ] = None
    url: Annotated[
        str | None,
        Setting(
            "The public address, and the service's identity in every token. One that starts with `/` is "
            "at the issuer's host, beside its path.",
            standard="RFC 8707 section 2",
            default_text="`/<name>/mcp`",
        ),
    ] = None
    upstream: Annotated[
        str | None,
        Setting("Where Envoy finds it: `http://host:port/path`, `https://…` or `unix:/socket:/path`."),
    ] = None
    command: Annotated[
        tuple[str, ...] | None,
        Setting("Instead of `upstream`: a program that `portcullis up` runs."),
    ] = None
    pass_environment: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], ...],
        Setting("Names of variables of `up`'s environment that the command gets: its own API keys, for example."),
    ] = ()
    transport: Annotated[
        Literal["stdio", "http"],
        Setting(
            "`stdio`: the command is bridged to HTTP. `http`: it serves HTTP on the socket that "
            "replaces `{socket}`.",
        ),
    ] = "stdio"
    scope: Annotated[
        str | None,
        Setting(
            "The scope that clients learn to ask for. Without `permissions` it is what a token must carry.",
            standard="RFC 6749 section 3.3",
            default_text="`mcp.<name>`",
        ),
    ] = Field(default=None, pattern=r"^[a-z][a-z0-9._:-]{0,127}$")
    permissions: Annotated[
        ServicePermissions | None,
        Setting(
            "Permissions that its methods, tools, prompts and resources need, see [permissions](permissions.md).",
            default_text="the scope",
        ),
    ] = None
    permission_titles: Annotated[
        dict[Name, Title],
        Setting(
            'What people read for a permission on the consent page: `{ "mcp.fetch.read" = "Read web pages" }`.',
        ),
    ] = Field(default_factory=dict)
    assertion: Annotated[
        bool,
        Setting(
            "Tell the service about the caller in a signed form too, see "
            "[identity](identity.md#a-signed-assertion). Needs `check.assertion_key`.",
        ),
    ] = False
    subpaths: Annotated[
        bool | None,
        Setting(
            "Whether paths below `url` are reachable. Rules speak of messages to the MCP endpoint only; "
            "with `true` any one permission of the service opens GET and DELETE of what is below it.",
            default_text="`true` without rules, `false` with rules",
        ),
    ] = None

    filter_lists: Annotated[
        bool,
        Setting(
            "Whether lists of tools, prompts and resources have only what the caller may use, for a service with "
            "rules, see [permissions](permissions.md#lists-have-only-what-a-caller-may-use).",
        ),
    ] = True
    bind_sessions: Annotated[
        bool,
        Setting(
            "Whether only the person that began a session may use it, see "
            "[permissions](permissions.md#sessions-belong-to-one-person). Needs `check.session_key`.",
        ),
    ] = True
    rate: Annotated[
        RateText | None,
        Setting(
            "How often each person may call the service: `60/minute`, or a number for each `second`, `hour` or "
            "`day`; see [limits](limits.md).",
            default_text="no limit",
        ),
    ] = None
    client_rate: Annotated[
        RateText | None,
        Setting("The same for each client of a person.", default_text="no limit"),
    ] = None
    quota: Annotated[
        QuotaText | None,
        Setting("How many calls each person has in a day of UTC: `1000/day`.", default_text="no limit"),
    ] = None
    tool_rates: Annotated[
        dict[Text, RateText],
        Setting(
            'How often each person may call tools, by name or glob: `{ "fetch_*" = "5/minute" }`. All tools of a '
            "glob count together; a more exact name replaces a glob that contains it. The gateway then reads the "
            "bodies of calls, as with tool rules.",
        ),
    ] = Field(default_factory=dict)
    tool_quotas: Annotated[
        dict[Text, QuotaText],
        Setting('The same for the calls of a day of UTC: `{ "send_mail" = "20/day" }`.'),
    ] = Field(default_factory=dict)

    @property
    def limits(self) -> ServiceLimits:
        """The limits on calls."""
        tools = {
            pattern: call_limits(self.tool_rates.get(pattern), None, self.tool_quotas.get(pattern))
            for pattern in dict.fromkeys((*self.tool_rates, *self.tool_quotas))
        }
        return ServiceLimits(
            call_limits(self.rate, self.client_rate, self.quota),
            tuple(ToolLimit(pattern, limits) for pattern, limits in tools.items()),
        )

    @model_validator(mode="after")
    def _one_origin(self) -> ServiceSettings:
        if (self.upstream is None) == (self.command is None):
            raise ValueError("needs exactly one of upstream (a URL) and command (a stdio server)")
        if self.command is not None and not self.command:
            raise ValueError("command is empty")
        if self.pass_environment and self.command is None:
            raise ValueError("pass_environment is for a command; who runs the upstream gives it its environment")
        return self
