"""Roles, permissions, scopes and tool rules: examples, and properties that hold for all of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oauth_core.model import NameRule, Service, ToolRules
from oauth_core.policy.access import AccessResult, MissingScopes, Rights, evaluate, held_permissions
from oauth_core.policy.deciding_rules import deciding_rules
from oauth_core.policy.globs import glob_matches, is_within
from oauth_core.policy.mcp_request import Call, CallFault, Message, NameKind, Session, parse_request
from oauth_core.policy.permissions import Permissions, check_pattern, implied_by, implies
from oauth_core.policy.rbac import UNLIMITED, RbacPolicy, Role
from oauth_core.policy.tool_rules import NEVER_ALLOWED, required_for

READ, WRITE, ADMIN = "mcp.fetch.read", "mcp.fetch.write", "mcp.fetch.admin"
PLAIN = Service("time", "Time", "https://mcp.example/time", "http://127.0.0.1:1", "mcp.time")
RULES = ToolRules(
    methods=(NameRule("tasks/*", (WRITE,)),),
    tools=(
        NameRule("*", (WRITE,)),
        NameRule("get_*", (READ,)),
        NameRule("get_secret", (READ, ADMIN)),
        NameRule("*_page", (READ,)),
        NameRule("drop_*", (ADMIN,)),
    ),
    resources=(NameRule("file:///public/*", (READ,)),),
)
RULED = Service(
    "fetch", "Fetch", "https://mcp.example/f", "http://127.0.0.1:1", "mcp.fetch", (READ, WRITE, ADMIN), RULES
)


def tool(name: str) -> Call:
    return Call("tools/call", NameKind.TOOL, name)


def evaluated(*scopes: str, call: Session | Call, granted: tuple[str, ...] = ("mcp.fetch",)) -> object:
    return evaluate(RULED, Rights(frozenset(scopes), Permissions(frozenset(granted))), call)


@pytest.mark.requirement("mcp:scope-hierarchy")
def test_a_name_implies_all_below_it_but_its_first_part_alone_implies_nothing() -> None:
    assert implied_by("mcp.fetch.read") == ("mcp.fetch.read", "mcp.fetch")
    assert implies(frozenset({"mcp.fetch"}), "mcp.fetch.read")
    assert not implies(frozenset({"mcp"}), "mcp.fetch")
    assert not implies(frozenset({"mcp.fetch.read"}), "mcp.fetch")
    assert not implies(frozenset({"mcp.fet"}), "mcp.fetch")


@pytest.mark.parametrize(
    ("pattern", "permission", "allowed"),
    [
        ("mcp.fetch", READ, True),
        ("mcp.fetch.*", READ, True),
        ("mcp.fetch.*", "mcp.fetch", True),
        ("mcp.*", READ, True),
        ("mcp", READ, False),
        ("*", "client.register", True),
        (READ, WRITE, False),
        (READ, "mcp.fetch", False),
    ],
)
def test_a_pattern_of_a_role_gives_the_permissions_that_match(
    pattern: str, permission: str, allowed: bool
) -> None:
    assert Permissions(frozenset({pattern})).allows(permission) is allowed


@pytest.mark.parametrize("text", ["", "mcp.", ".mcp", "mcp..x", "mcp.f*", "*.read", "MCP", "mcp.*.read", "a b"])
def test_an_invalid_pattern_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not the name"):
        check_pattern(text)


def test_without_roles_all_people_may_use_the_services_and_nothing_else() -> None:
    permissions = RbacPolicy.from_roles((), (PLAIN, RULED)).permissions_of("anybody", None, ())
    assert permissions.allows("mcp.time")
    assert permissions.allows(ADMIN)
    assert not permissions.allows("client.register")
    assert not permissions.allows("mcp.other")


def test_with_any_role_only_roles_give_permissions() -> None:
    role = Role("r", Permissions(frozenset({READ})), users=frozenset({"octocat"}))
    policy = RbacPolicy.from_roles((role,), (PLAIN, RULED))
    assert policy.permissions_of("OctoCat", None, ()).allows(READ)
    assert not policy.permissions_of("octocat", None, ()).allows("mcp.time")
    assert policy.permissions_of("hubot", None, ()) == Permissions()


def test_a_role_is_given_by_login_account_organisation_or_team() -> None:
    role = Role("r", Permissions(frozenset({READ})), frozenset({"octocat"}), frozenset({"acme", "umbrella/lab"}))
    assert role.given_by(("octocat",), ()) == "user octocat"
    assert role.given_by(("hubot",), ("acme",)) == "organisation acme"
    assert role.given_by(("hubot",), ("umbrella/lab",)) == "team umbrella/lab"
    assert role.given_by(("hubot",), ("acme/lab", "umbrella")) is None
    by_account = RbacPolicy.from_roles((Role("r", Permissions(frozenset({READ})), frozenset({"#583231"})),), ())
    assert by_account.permissions_of("whatever-it-is-called-now", 583231, ()).allows(READ)
    assert not by_account.permissions_of("octocat", 1, ()).allows(READ)
    assert not by_account.permissions_of("octocat", None, ()).allows(READ)
    assert by_account.logins_mentioned == frozenset()
    assert RbacPolicy.from_roles((role,), ()).groups_mentioned == {"acme", "umbrella/lab"}


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("get_time", (READ,)),
        ("get_secret", (READ, ADMIN)),
        ("anything", (WRITE,)),
        ("drop_page", (READ, ADMIN)),  # two globs are equally exact, so both count
        ("", (WRITE,)),
    ],
)
def test_the_most_exact_rule_decides_and_of_equally_exact_ones_all(name: str, needs: tuple[str, ...]) -> None:
    assert set(required_for(RULED, tool(name)).permissions) == set(needs)


def test_a_name_without_a_rule_is_forbidden() -> None:
    for call in (
        Call("resources/read", NameKind.RESOURCE, "file:///etc/passwd"),
        Call("prompts/get", NameKind.PROMPT, "hello"),
        Call("tools/delete"),
        Call("prompts/put"),
        Call("resources/directory/read"),
    ):
        assert required_for(RULED, call) == NEVER_ALLOWED
        assert evaluate(RULED, Rights(frozenset({"mcp.fetch"}), UNLIMITED), call) is AccessResult.FORBIDDEN


def test_a_method_without_a_rule_needs_every_permission_and_the_client_can_request_them() -> None:
    for method in ("does/not/exist", "sampling/createMessage", "server/wipe"):
        assert evaluated("mcp.fetch", call=Call(method)) is AccessResult.GRANTED, "the service answers"
        assert evaluated(READ, WRITE, call=Call(method)) == MissingScopes((READ, WRITE, ADMIN))
        assert evaluated("mcp.fetch", call=Call(method), granted=(READ, WRITE)) is AccessResult.FORBIDDEN
        service = replace(RULED, rules=replace(RULES, otherwise=(ADMIN,)))
        assert required_for(service, Call(method)).permissions == (ADMIN,)


def test_the_otherwise_rule_covers_names_without_a_rule() -> None:
    service = replace(RULED, rules=replace(RULES, otherwise=(ADMIN,)))
    assert required_for(service, Call("prompts/get", NameKind.PROMPT, "hello")).permissions == (ADMIN,)
    assert required_for(service, Call("ping")).any_is_enough


_REFERENCES = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["hello", "secret"]),
        "uri": st.sampled_from(["file:///public/a", "file:///b"]),
        "type": st.sampled_from(["ref/x", "REF/PROMPT", "", None, 1, ["ref/prompt"]]),
        "id": st.just("c"),
    },
)


@given(_REFERENCES)
def test_a_reference_of_an_unknown_kind_needs_no_less_than_one_of_a_known_kind(reference: dict[str, Any]) -> None:
    """So a service that ignores the kind, or its case, opens no bypass."""
    prompts = (NameRule("hello", (READ,)), NameRule("secret", (WRITE,)))
    service = replace(RULED, rules=replace(RULES, prompts=prompts, otherwise=(ADMIN,)))

    def needs(**changed: str) -> set[str]:
        message = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "completion/complete",
            "params": {"ref": reference | changed},
        }
        call = parse_request(Message("POST", {"content-type": "application/json"}, json.dumps(message).encode()))
        assert isinstance(call, Call)
        required = required_for(service, call)
        return set() if required.any_is_enough else set(required.permissions)

    for known in ("ref/prompt", "ref/resource"):
        assert needs(type=known) <= needs()
    if reference.keys() - {"type"}:
        assert ADMIN in needs(), "its other names have no rule"


def test_a_rule_for_a_method_and_one_for_its_tool_both_count() -> None:
    service = replace(RULED, rules=replace(RULES, methods=(NameRule("tools/*", (ADMIN,)),)))
    assert set(required_for(service, tool("get_time")).permissions) == {READ, ADMIN}
    # A rule for the method alone must not allow tools without a rule for tools.
    bare = replace(
        RULED, rules=ToolRules(methods=(NameRule("tools/*", (READ,)),), tools=(NameRule("x", (READ,)),))
    )
    assert required_for(bare, tool("y")) == NEVER_ALLOWED


@pytest.mark.parametrize(
    "call", [Session.STREAM, Session.END, Session.ANSWER, Call("initialize"), Call("tools/list")]
)
def test_any_permission_of_the_service_allows_a_plain_method(call: Session | Call) -> None:
    assert evaluated(READ, call=call, granted=(READ,)) is AccessResult.GRANTED
    assert evaluated("mcp.other", call=call, granted=("mcp.other",)) is AccessResult.FORBIDDEN
    assert evaluated("mcp.other", call=call, granted=(READ,)) == MissingScopes(("mcp.fetch",))


@pytest.mark.requirement("mcp:insufficient-scope-all")
def test_all_missing_scopes_are_requested_and_the_present_ones_are_kept() -> None:
    assert evaluated(READ, call=tool("anything")) == MissingScopes((READ, WRITE))
    assert evaluated("mcp.other", call=tool("get_secret")) == MissingScopes((READ, ADMIN))
    # One of the two cannot be obtained by consent, so none is requested.
    assert evaluated("mcp.other", call=tool("get_secret"), granted=(READ,)) is AccessResult.FORBIDDEN


def test_with_rules_a_request_that_was_not_parsed_is_refused() -> None:
    assert evaluate(RULED, Rights(frozenset({"mcp.fetch"}), UNLIMITED), None) is CallFault.MISSING


def test_matching_a_long_text_takes_linear_time() -> None:
    assert not glob_matches("*a" * 50 + "b", "a" * 100_000)


_names = st.sampled_from([READ, WRITE, ADMIN, "mcp.fetch", "mcp.time", "mcp", "*", "client.register", "mcp.*"])
_sets = st.frozensets(_names)
_asked = st.one_of(
    st.sampled_from(Session),
    st.sampled_from(["get_a", "get_secret", "x", "drop_page"]).map(tool),
    st.sampled_from(["ping", "tasks/get", "odd"]).map(Call),
    st.sampled_from(CallFault),
    st.none(),
)
_services = st.sampled_from([PLAIN, RULED])


@given(_services, _sets, _sets, _sets, _asked)
def test_access_is_granted_only_if_policy_and_token_both_allow_it(
    service: Service, scopes: frozenset[str], granted: frozenset[str], forbidden: frozenset[str], call: object
) -> None:
    permissions = Permissions(granted, forbidden)
    result = evaluate(service, Rights(scopes, permissions), call)  # type: ignore[arg-type] # sampled from its union
    if result is not AccessResult.GRANTED:
        return
    required = required_for(service, call).permissions if service.rules else service.permissions  # type: ignore[arg-type]
    entry = bool(service.rules) and required_for(service, call).any_is_enough  # type: ignore[arg-type]
    held = [name for name in required if permissions.allows(name) and implies(scopes, name)]
    assert held
    assert entry or held == list(required)


@given(_services, _sets, _sets, _sets, _sets, _asked)
def test_more_grants_never_remove_access_and_more_denials_never_add_it(  # noqa: PLR0917 - a law of them all
    service: Service,
    scopes: frozenset[str],
    granted: frozenset[str],
    forbidden: frozenset[str],
    more: frozenset[str],
    call: object,
) -> None:
    def allowed(scopes: frozenset[str], permissions: Permissions) -> bool:
        return evaluate(service, Rights(scopes, permissions), call) is AccessResult.GRANTED  # type: ignore[arg-type]

    before = allowed(scopes, Permissions(granted, forbidden))
    assert allowed(scopes | more, Permissions(granted, forbidden)) >= before
    assert allowed(scopes, Permissions(granted | more, forbidden)) >= before
    assert allowed(scopes, Permissions(granted, forbidden | more)) <= before


@given(_services, _sets, _sets, st.sampled_from(CallFault) | st.none())
def test_with_rules_an_unparsed_request_is_never_allowed(
    service: Service, scopes: frozenset[str], granted: frozenset[str], call: CallFault | None
) -> None:
    result = evaluate(service, Rights(scopes, Permissions(granted)), call)
    assert service.rules is None or result is not AccessResult.GRANTED


@given(st.text("ab*"), st.text("ab"))
def test_a_glob_has_its_usual_meaning(pattern: str, text: str) -> None:
    def plainly(pattern: str, text: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return plainly(pattern[1:], text) or (bool(text) and plainly(pattern, text[1:]))
        return bool(text) and pattern[0] == text[0] and plainly(pattern[1:], text[1:])

    if pattern.count("*") <= 4:
        assert glob_matches(pattern, text) == plainly(pattern, text)


@given(_services, _sets, _sets, _sets, _asked)
def test_the_permissions_that_a_cached_verdict_holds_change_no_decision(
    service: Service, scopes: frozenset[str], granted: frozenset[str], forbidden: frozenset[str], call: object
) -> None:
    rights = Rights(scopes, Permissions(granted, forbidden))
    held = held_permissions(service, rights)
    assert evaluate(service, rights, call, held=held) == evaluate(service, rights, call)  # type: ignore[arg-type]


_patterns = st.lists(st.text("ab*", max_size=5) | st.sampled_from(["*", "a", "ab", "a*", "*b", "a*b", "a*b*"]))


@given(_patterns, st.text("ab", max_size=6))
@example(["*", "a*", "*b", "ab"], "ab")
@example(["a*", "*b", "a", "a"], "a")
@example(["a*a"], "a")
def test_the_deciding_rules_match_the_name_and_no_more_exact_one_does(patterns: list[str], name: str) -> None:
    rules = tuple(NameRule(pattern, (str(place),)) for place, pattern in enumerate(patterns))
    matching = [rule for rule in rules if glob_matches(rule.pattern, name)]
    expected = [rule for rule in matching if not any(is_within(other.pattern, rule.pattern) for other in matching)]
    for _ in range(2):  # the second time they are prepared
        assert deciding_rules(rules).for_name(name) == expected


def test_rules_of_new_settings_are_never_decided_by_those_of_old_ones() -> None:
    for number in range(2500):
        rules = (NameRule("get_*", (f"mcp.fetch.{number}",)), NameRule("*", (ADMIN,)))
        assert deciding_rules(rules).for_name("get_time") == [rules[0]]
