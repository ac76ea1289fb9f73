"""`portcullis policy`: check the roles and permissions, explain a decision, and test expectations."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from oauth_core.errors import SettingsError
from oauth_core.policy.argument_rules import ANY_ARGUMENTS
from oauth_core.policy.eligibility import check_user
from oauth_core.policy.explain import Explanation, explain
from oauth_core.policy.mcp_request import Call, NameKind, Session, read_arguments
from oauth_core.policy.resources import ServiceIndex
from oauth_core.settings import CONFIG_VARIABLE, GatewaySettings, load
from oauth_core.settings.policy_faults import dotted
from oauth_core.settings.sources import Fault
from oauth_core.settings.toml_places import line_of, lines_of, parsed
from portcullis.cli.settings_file import DEFAULT, config_option

if TYPE_CHECKING:
    from oauth_core.model import Service


def _as_sent(value: object) -> object:
    """The arguments of a call, from JSON or from a table."""
    if isinstance(value, dict):
        value = json.dumps(value, default=str)
    return read_arguments(value) if isinstance(value, str) else value


class Expectation(BaseModel):
    """One `[[expect]]` table. Without a tool, prompt, resource or method it needs any one permission of the
    service. `arguments` are those of a tool or a prompt; without them, the call has some that may be allowed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    user: Annotated[str, AfterValidator(check_user)]
    groups: tuple[str, ...] = ()
    service: str
    method: str | None = None
    tool: str | None = None
    prompt: str | None = None
    resource: str | None = None
    arguments: Annotated[Mapping[str, object] | None, BeforeValidator(_as_sent)] = None
    scopes: tuple[str, ...] | None = None
    allowed: bool

    @property
    def subject(self) -> str:
        """The person, the service and the call, in words."""
        named = [f"{kind} {name}" for kind, name in self._names if name]
        member = f" of {', '.join(self.groups)}" if self.groups else ""
        return f"{self.user}{member} at {self.service}" + (f", {' '.join(named)}" if named else "")

    @property
    def _names(self) -> tuple[tuple[str, str | None], ...]:
        return (
            ("method", self.method),
            ("tool", self.tool),
            ("prompt", self.prompt),
            ("resource", self.resource),
        )


class Expectations(BaseModel):
    """The file of `policy test`."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    expect: Annotated[tuple[Expectation, ...], Field(min_length=1)]


class _PolicyGroup(click.Group):
    """Gives each command the settings file, whose option may be before the command or after it."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        def keep(context: click.Context, _option: click.Parameter, given: Path | None) -> None:
            if given is not None:
                context.obj = given

        path = click.Path(path_type=Path)
        cmd.params.append(
            click.Option(["--config"], type=path, callback=keep, expose_value=False, help="As before the command.")
        )
        super().add_command(cmd, name)


@click.group("policy", cls=_PolicyGroup)
@config_option
@click.pass_context
def command(context: click.Context, config: Path | None) -> None:
    """Check roles and permissions in the settings file, explain a decision, test expectations.

    The command contacts no running program, and changes nothing.
    """
    context.obj = config


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def check(config: Path | None, *, as_json: bool) -> None:
    """Print the faults of the settings file, with their lines. Exits with 2 if there are any."""
    config = _existing_file(config)
    try:
        settings = load(GatewaySettings, config, os.environ)
    except SettingsError as error:
        lines = lines_of(_text_of(config))
        faults = [(_line(lines, fault), fault.removeprefix(f"{config}: ")) for fault in error.faults]
        if as_json:
            shown = [{"file": str(config), "line": line, "fault": fault} for line, fault in faults]
            click.echo(json.dumps({"good": False, "faults": shown}))
        else:
            for line, fault in sorted(faults, key=lambda found: found[0] or 0):
                click.echo(f"{config}:{line}: {fault}" if line else f"{config}: {fault}", err=True)
        sys.exit(2)
    if as_json:
        click.echo(json.dumps({"good": True, "faults": []}))
        return
    roles = len(settings.roles)
    rules = f"{roles} role{'s' if roles > 1 else ''}" if roles else "no roles, so all people may use every service"
    click.echo(
        f"{config} is good: {len(settings.services)} service{'s' if len(settings.services) > 1 else ''}, {rules}."
    )


@command.command("explain")
@click.option("--user", required=True, help="A GitHub login, or login#id.")
@click.option("--group", "groups", multiple=True, help="An organisation or org/team they are in. Repeat for more.")
@click.option("--service", required=True, help="The name of a service.")
@click.option("--tool", help="A tool they call.")
@click.option("--prompt", help="A prompt they get.")
@click.option("--resource", help="A resource they read, by its URI.")
@click.option("--method", help="An MCP method they call.")
@click.option("--arguments", help="The arguments of the tool or prompt, as JSON; by default any.")
@click.option("--scope", "scopes", multiple=True, help="A scope of their token; by default it has all.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def explain_command(config: Path | None, /, *, as_json: bool, **given: object) -> None:
    """Print whether a person may do something, and why. Exits with 1 if not."""
    if isinstance(text := given["arguments"], str):
        try:
            read_arguments(text)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--arguments") from None
    asked = Expectation.model_validate({**given, "scopes": given["scopes"] or None, "allowed": True})
    result = _explained(load(GatewaySettings, _existing_file(config), os.environ), asked)
    if as_json:
        click.echo(json.dumps({"allowed": result.allowed, "reasons": list(result.reasons)}))
    else:
        click.echo("allowed" if result.allowed else "refused")
        for reason in result.reasons:
            click.echo(f"  {reason}")
    sys.exit(0 if result.allowed else 1)


@command.command("test")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def test_command(config: Path | None, file: Path, *, as_json: bool) -> None:
    """Test the settings with the expectations in FILE. Exits with 1 if one is not met."""
    settings = load(GatewaySettings, _existing_file(config), os.environ)
    results = [(wanted, _explained(settings, wanted)) for wanted in _read_expectations(file).expect]
    failed = [(wanted, result) for wanted, result in results if wanted.allowed != result.allowed]
    if as_json:
        shown = [
            {"expectation": wanted.subject, "allowed": result.allowed, "met": wanted.allowed == result.allowed}
            for wanted, result in results
        ]
        click.echo(json.dumps({"met": not failed, "results": shown}))
    else:
        for wanted, result in failed:
            click.echo(f"{wanted.subject}: expected {_word(wanted.allowed)}, is {_word(result.allowed)}")
            for reason in result.reasons:
                click.echo(f"  {reason}")
        click.echo(f"{len(results) - len(failed)} of {len(results)} expectations are met.")
    sys.exit(1 if failed else 0)


def _existing_file(config: Path | None) -> Path:
    """The settings file. Raises `SettingsError` with the places where it was not found."""
    if config is None:
        raise SettingsError(
            [f"no {DEFAULT} is in {Path.cwd()} and {CONFIG_VARIABLE} is not set: name the file with --config"]
        )
    return config


def _explained(settings: GatewaySettings, wanted: Expectation) -> Explanation:
    services = ServiceIndex(settings.resolved_services)
    service = services.by_name(wanted.service)
    if service is None:
        known = ", ".join(sorted(each.name for each in services.services))
        raise click.UsageError(f"there is no service {wanted.service!r}; there are: {known}")
    scopes = None if wanted.scopes is None else frozenset(wanted.scopes)
    return explain(
        settings.policy, service, _request(service, wanted), user=wanted.user, groups=wanted.groups, scopes=scopes
    )


def _request(service: Service, wanted: Expectation) -> Session | Call:
    """The call that the names describe."""
    arguments = ANY_ARGUMENTS if wanted.arguments is None else wanted.arguments
    if wanted.arguments is not None and not (wanted.tool or wanted.prompt):
        raise click.UsageError("only a tool and a prompt have arguments")
    named = [
        call
        for call in (
            Call("tools/call", NameKind.TOOL, wanted.tool, arguments=arguments) if wanted.tool else None,
            Call("prompts/get", NameKind.PROMPT, wanted.prompt, arguments=arguments) if wanted.prompt else None,
            Call("resources/read", NameKind.RESOURCE, wanted.resource) if wanted.resource else None,
            Call(wanted.method) if wanted.method else None,
        )
        if call is not None
    ]
    if len(named) > 1:
        raise click.UsageError(f"name one thing at {service.name}: a tool, a prompt, a resource or a method")
    return named[0] if named else Session.STREAM


def _read_expectations(file: Path) -> Expectations:
    try:
        return Expectations.model_validate(parsed(file.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise SettingsError([f"{file}: {error.strerror}"]) from None
    except ValidationError as error:
        lines = lines_of(file.read_text(encoding="utf-8-sig"))
        found = [(detail["loc"], detail["msg"]) for detail in error.errors(include_url=False)]
        raise SettingsError(
            [f"{file}:{line_of(lines, place) or 1}: {dotted(place)}: {message}" for place, message in found]
        ) from None
    except ValueError as error:  # no UTF-8, or no TOML
        raise SettingsError([f"{file}: {error}"]) from None


def _word(allowed: bool) -> str:  # noqa: FBT001 - it is the whole question
    return "allowed" if allowed else "refused"


def _line(lines: dict[tuple[str | int, ...], int], fault: str) -> int | None:
    return line_of(lines, fault.place) if isinstance(fault, Fault) else None


def _text_of(config: Path) -> str:
    try:
        return config.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return ""
