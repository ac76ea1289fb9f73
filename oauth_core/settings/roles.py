"""The settings of roles, and of the permissions that a service's methods and names need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from oauth_core.display_text import is_displayable
from oauth_core.limits.allowances import QUOTA_PATTERN, RATE_PATTERN, read_quota, read_rate
from oauth_core.limits.call_limits import CallLimits
from oauth_core.model import NameRule, ToolRules
from oauth_core.policy.eligibility import ANYBODY, check_teams, check_users, listed_as
from oauth_core.policy.permissions import Permissions, check_pattern
from oauth_core.policy.rbac import Role
from oauth_core.policy.resource_uris import canonical_pattern
from oauth_core.settings.argument_rules import WaySettings
from oauth_core.settings.definitions import Setting
from oauth_core.settings.permission_names import LONGEST, Needs, Text, one_or_more

if TYPE_CHECKING:
    from collections.abc import Mapping

NEEDS, WAY, WAYS = "<needs>", "<way>", "<ways>"
TAGS = frozenset({NEEDS, WAY, WAYS})
"""Tags of pydantic for the forms of a rule, which are no part of a place in the settings."""

_MOST_WAYS = 16
ROLE_NAME = r"^[a-z][a-z0-9-]{0,62}$"


def _no_stars(names: tuple[str, ...]) -> tuple[str, ...]:
    if ANYBODY in names:
        raise ValueError("to give a role to everybody who may sign in, write everyone = true")
    return names


def _printable(text: str) -> str:
    if not is_displayable(text):
        raise ValueError("what people are to read must be printable, on one line")
    return text


def _lower(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.lower() for name in names)


def _canonical(table: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The table with each URI in its canonical form; two spellings of one URI are one rule."""
    found: dict[str, tuple[str, ...]] = {}
    for pattern, needs in table.items():
        form = canonical_pattern(pattern)
        found[form] = tuple(dict.fromkeys((*found.get(form, ()), *needs)))
    return found


Patterns = Annotated[
    tuple[Annotated[str, AfterValidator(check_pattern)], ...],
    BeforeValidator(one_or_more, json_schema_input_type=str | tuple[str, ...]),
]
Title = Annotated[str, Field(min_length=1, max_length=LONGEST), AfterValidator(_printable)]
People = Annotated[tuple[Text, ...], AfterValidator(_no_stars), AfterValidator(_lower)]
Globs = dict[Text, Needs]
RateText = Annotated[str, Field(pattern=RATE_PATTERN)]
QuotaText = Annotated[str, Field(pattern=QUOTA_PATTERN)]


def call_limits(rate: str | None, client_rate: str | None, quota: str | None) -> CallLimits:
    """The limits in these texts."""
    return CallLimits(
        rate=read_rate(rate) if rate else None,
        client_rate=read_rate(client_rate) if client_rate else None,
        quota=read_quota(quota) if quota else None,
    )


def _form_of_rule(value: object) -> str:
    """The tag of the form of a rule: permissions, a way, or several ways."""
    if isinstance(value, dict | WaySettings):
        return WAY
    has_tables = isinstance(value, list | tuple) and any(isinstance(part, dict | WaySettings) for part in value)
    return WAYS if has_tables else NEEDS


_Ways = Annotated[tuple[WaySettings, ...], Field(max_length=_MOST_WAYS)]
Calls = dict[
    Text,
    Annotated[
        Annotated[Needs, Tag(NEEDS)] | Annotated[WaySettings, Tag(WAY)] | Annotated[_Ways, Tag(WAYS)],
        Discriminator(_form_of_rule),
    ],
]
"""Rules for names that are called with arguments."""


class PermissionSettings(BaseModel):
    """The permissions that a service's methods and names need. Keys are names or globs, values permissions."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    methods: Annotated[
        Globs,
        Setting("Permissions that methods of MCP need: a name or a glob, and one permission or several."),
    ] = Field(default_factory=dict)
    tools: Annotated[
        Calls,
        Setting(
            "Permissions that tools need: a name or a glob, and one permission or several, or ways that depend on "
            "the arguments of the call."
        ),
    ] = Field(default_factory=dict)
    prompts: Annotated[
        Calls,
        Setting("Permissions that prompts need, as for tools."),
    ] = Field(default_factory=dict)
    resources: Annotated[
        Globs,
        AfterValidator(_canonical),
        Setting("Permissions that resources need: a URI or a glob, and one permission or several."),
    ] = Field(default_factory=dict)
    otherwise: Annotated[
        Needs | None,
        Setting("Permissions that all other requests need."),
    ] = None

    @property
    def rules(self) -> ToolRules | None:
        """The rules; `None` when everything needs the same, so that the check need not read requests."""
        tables = {kind: _rules(getattr(self, kind)) for kind in ("methods", "tools", "prompts", "resources")}
        return ToolRules(**tables, otherwise=self.otherwise or ()) if any(tables.values()) else None

    @property
    def names(self) -> tuple[str, ...]:
        """Every permission in these rules."""
        tables: tuple[Mapping[str, _Rule], ...] = (self.methods, self.tools, self.prompts, self.resources)
        rules = [rule for table in tables for rule in table.values()]
        needed = [name for rule in rules for name in _permissions_of(rule)]
        needed += [name for rule in rules for way in _ways_of(rule) for name in way.needs]
        return tuple(dict.fromkeys((*needed, *(self.otherwise or ()))))


def _the_same_for_everything(value: object) -> object:
    """Read `permissions = "mcp.time.read"`: everything at the service needs that permission."""
    return {"otherwise": value} if isinstance(value, str | list | tuple) else value


ServicePermissions = Annotated[
    PermissionSettings,
    BeforeValidator(_the_same_for_everything, json_schema_input_type=PermissionSettings | Needs),
]


class RoleSettings(BaseModel):
    """One `[roles.NAME]` table: permissions, and the people who have them."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    permissions: Annotated[
        Patterns,
        Setting("Patterns of permissions that people with this role have."),
    ] = ()
    forbids: Annotated[
        Patterns,
        Setting(
            "Patterns of permissions that people with this role do not have, whatever their other roles allow."
        ),
    ] = ()
    users: Annotated[
        People,
        AfterValidator(check_users),
        Setting("GitHub logins, or `login#id`."),
    ] = ()
    orgs: Annotated[
        People,
        Setting("Members of these organisations have the role."),
    ] = ()
    teams: Annotated[
        People,
        AfterValidator(check_teams),
        Setting("Members of these teams have the role; a team is written `organisation/team`."),
    ] = ()
    everyone: Annotated[
        bool,
        Setting("Gives the role to every person who may sign in."),
    ] = False

    rate: Annotated[
        RateText | None,
        Setting(
            "How often each person with this role may call, all services together: `60/minute`, or a number for "
            "each `second`, `hour` or `day`. Of several roles of a person the most generous rate counts; see "
            "[limits](limits.md).",
            default_text="no limit",
        ),
    ] = None
    client_rate: Annotated[
        RateText | None,
        Setting("The same for each client of such a person.", default_text="no limit"),
    ] = None
    quota: Annotated[
        QuotaText | None,
        Setting(
            "How many calls each person with this role has in a day of UTC, all services together: `1000/day`.",
            default_text="no limit",
        ),
    ] = None

    def named(self, name: str) -> Role:
        """The role of this table."""
        return Role(
            name=name,
            permissions=Permissions(frozenset(self.permissions), frozenset(self.forbids)),
            users=frozenset(map(listed_as, self.users)),
            groups=frozenset((*self.orgs, *self.teams)),
            everyone=self.everyone,
            limits=call_limits(self.rate, self.client_rate, self.quota),
        )


_Rule = tuple[str, ...] | WaySettings | tuple[WaySettings, ...]


def _ways_of(rule: _Rule) -> tuple[WaySettings, ...]:
    if isinstance(rule, WaySettings):
        return (rule,)
    return tuple(part for part in rule if isinstance(part, WaySettings))


def _permissions_of(rule: _Rule) -> tuple[str, ...]:
    return () if isinstance(rule, WaySettings) else tuple(part for part in rule if isinstance(part, str))


def _rules(table: Mapping[str, _Rule]) -> tuple[NameRule, ...]:
    return tuple(_rule(pattern, rule) for pattern, rule in table.items())


def _rule(pattern: str, rule: _Rule) -> NameRule:
    ways = tuple(settings.way for settings in _ways_of(rule))
    if len(ways) == 1 and not ways[0].is_conditional:
        return NameRule(pattern, ways[0].permissions)
    return NameRule(pattern, _permissions_of(rule), ways)
