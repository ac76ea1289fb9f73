"""How an operator describes one MCP service behind the gateway."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from oauth_core.settings.roles import Name, PermissionSettings, Title
from oauth_core.settings.sources import SECRET_FIELDS


class ServiceSettings(BaseModel):
    """One `[[services]]` table. Exactly one of `upstream` and `command` says where the service is.

    `portcullis up` runs a `command`: a stdio server is bridged to HTTP; with `transport = "http"` the command
    serves streamable HTTP itself, at path `/mcp` of the Unix socket that replaces `{socket}` in its arguments. Of
    the operator's environment it sees what every program needs and the variables in `pass_environment`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")
    title: str | None = None
    url: str | None = None
    upstream: str | None = None
    command: tuple[str, ...] | None = None
    pass_environment: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], ...] = ()
    transport: Literal["stdio", "http"] = "stdio"
    scope: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9._:-]{0,127}$")
    permissions: PermissionSettings | None = None
    permission_titles: dict[Name, Title] = Field(default_factory=dict)
    assertion: bool = False
    subpaths: bool | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> ServiceSettings:
        if (self.upstream is None) == (self.command is None):
            raise ValueError("needs exactly one of upstream (a URL) and command (a stdio server)")
        if self.command is not None and not self.command:
            raise ValueError("command is empty")
        if self.pass_environment and self.command is None:
            raise ValueError("pass_environment is for a command; who runs the upstream gives it its environment")
        if ours := [name for name in self.pass_environment if name.removesuffix("_FILE").lower() in SECRET_FIELDS]:
            raise ValueError(f"pass_environment names the gateway's own secrets: {', '.join(ours)}")
        return self
