"""How an operator describes one MCP service behind the gateway."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from oauth_core.settings.roles import PermissionSettings


class ServiceSettings(BaseModel):
    """One `[[services]]` table. Exactly one of `upstream` and `command` says where the service is.

    `portcullis up` runs a `command`: a stdio server is bridged to HTTP; with `transport = "http"` the command
    serves streamable HTTP itself, at path `/mcp` of the Unix socket that replaces `{socket}` in its arguments.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")
    title: str | None = None
    url: str | None = None
    upstream: str | None = None
    command: tuple[str, ...] | None = None
    transport: Literal["stdio", "http"] = "stdio"
    scope: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9._:-]{0,127}$")
    permissions: PermissionSettings | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> ServiceSettings:
        if (self.upstream is None) == (self.command is None):
            raise ValueError("needs exactly one of upstream (a URL) and command (a stdio server)")
        if self.command is not None and not self.command:
            raise ValueError("command is empty")
        return self
