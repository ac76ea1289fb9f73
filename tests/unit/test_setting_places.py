"""Every setting is read from its table, from the environment and, with a warning, under its former flat name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.errors import SettingsError
from oauth_core.settings import DEFINITIONS, KINDS, GatewaySettings, load, outdated_names
from oauth_core.settings.definitions import TABLES, location_in_words
from oauth_core.settings.unknown_names import unknown_setting, unknown_table
from tests.unit import setting_samples as samples
from tests.unit.small_settings import ENVIRONMENT, ONE_SERVICE

if TYPE_CHECKING:
    from pathlib import Path

GROUPED = sorted(name for name, one in DEFINITIONS.items() if one.key != name and not one.is_secret)


def kind_of(name: str) -> type[GatewaySettings]:
    return next(kind for kind in KINDS if name in kind.model_fields)


def read(name: str, config: Path, text: str, **variables: str) -> Any:
    """The value of a setting with this text at the top of the file, and these variables."""
    config.write_text(f"{text}\n{ONE_SERVICE}", encoding="utf-8")
    settings = load(kind_of(name), config, {**samples.beside(name), **variables})
    return getattr(settings, name)


def faults(config: Path, text: str, **variables: str) -> tuple[str, ...]:
    config.write_text(f'issuer = "http://localhost:8080"\n{text}\n', encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load(KINDS[0], config, {**ENVIRONMENT, **variables})
    return caught.value.faults


# -- the three places --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", samples.PLAIN)
def test_a_setting_has_the_same_value_from_its_table_its_flat_name_and_the_environment(
    name: str, config: Path
) -> None:
    definition = DEFINITIONS[name]
    for value in samples.samples(name):
        written = samples.in_toml(value)
        table, _, key = definition.key.rpartition(".")
        in_table = read(name, config, f"[{table}]\n{key} = {written}" if table else f"{key} = {written}")
        assert outdated_names(config, {}) == ()
        flat = read(name, config, f"{name} = {written}")
        warnings = outdated_names(config, {})
        assert [f"{config}: {name} is an old name: write {location_in_words(definition)}"] * bool(table) == list(
            warnings
        )
        given = read(name, config, "", **{definition.variable: samples.in_environment(value)})
        assert in_table == flat == given
        assert str(in_table) in {
            str(value),
            str(tuple(value) if isinstance(value, list) else (value,)),
            f"{value}.0",
        }


@pytest.mark.parametrize("name", samples.PLAIN)
def test_the_environment_overrides_the_file_under_either_name(name: str, config: Path) -> None:
    definition = DEFINITIONS[name]
    *_, other = samples.samples(name)
    variables = {definition.variable: samples.in_environment(other)}
    alone = read(name, config, "", **variables)
    first = samples.in_toml(samples.samples(name)[0])
    assert read(name, config, f"{definition.key} = {first}", **variables) == alone
    assert read(name, config, f"{name} = {first}", **variables) == alone


@pytest.mark.parametrize("name", GROUPED)
def test_a_setting_under_both_names_is_a_fault(name: str, config: Path) -> None:
    definition, value = DEFINITIONS[name], samples.in_toml(samples.samples(name)[0])
    (fault, *_) = faults(config, f"{name} = {value}\n{definition.key} = {value}\n{ONE_SERVICE}")
    assert fault == f"{config}: {definition.key} and its old name {name} are both set: remove {name}"


@pytest.mark.parametrize("name", sorted(samples.SECRET))
def test_a_secret_is_refused_in_the_file_under_either_name_and_not_repeated(name: str, config: Path) -> None:
    definition = DEFINITIONS[name]
    for spelling in (name, definition.key):
        told = faults(config, f'{spelling} = "in-the-file"\n{ONE_SERVICE}')
        assert told[0].startswith(f"{config}: {spelling} is a secret; set {definition.variable} or ")
        assert "in-the-file" not in str(told)
    kind = kind_of(name)
    config.write_text(f'issuer = "http://localhost:8080"\n{ONE_SERVICE}')
    given = load(kind, config, {**samples.beside(name), definition.variable: samples.SECRET[name]})
    assert getattr(given, name).get_secret_value() == samples.SECRET[name]


def test_every_secret_has_a_sample() -> None:
    assert samples.SECRET.keys() == {name for name, one in DEFINITIONS.items() if one.is_secret}


@pytest.mark.parametrize("text", ["check.remembered_tokens = 7", "remembered_tokens = 7"])
def test_a_former_name_in_the_file_is_read_with_a_warning_that_has_the_present_name(
    text: str, config: Path
) -> None:
    assert read("cached_tokens", config, text) == 7
    name = text.partition(" ")[0]
    assert outdated_names(config, {}) == (
        f"{config}: {name} is an old name: write cached_tokens in the table [check]",
    )
    (fault, *_) = faults(config, f"check.cached_tokens = 7\n{text}\n{ONE_SERVICE}")
    assert fault == f"{config}: check.cached_tokens and its old name {name} are both set: remove {name}"


def test_a_former_variable_is_read_with_a_warning_that_has_the_present_name(config: Path) -> None:
    assert read("cached_tokens", config, "check.cached_tokens = 8", REMEMBERED_TOKENS="7") == 7
    assert outdated_names(config, {"REMEMBERED_TOKENS": "7"}) == (
        "REMEMBERED_TOKENS is an old name: set CACHED_TOKENS",
    )
    assert outdated_names(config, {"CACHED_TOKENS": "7"}) == ()
    for variables, expected in (
        ({"REMEMBERED_TOKENS": "-1"}, "check.cached_tokens (REMEMBERED_TOKENS): "),
        (
            {"CACHED_TOKENS": "7", "REMEMBERED_TOKENS": "7"},
            "CACHED_TOKENS and its old name REMEMBERED_TOKENS are both set: remove REMEMBERED_TOKENS",
        ),
    ):
        with pytest.raises(SettingsError) as caught:
            read("cached_tokens", config, "", **variables)
        assert any(fault.startswith(expected) for fault in caught.value.faults), caught.value.faults


# -- names -------------------------------------------------------------------------------------------------------


def test_every_table_has_a_description_and_settings_and_no_name_of_a_setting() -> None:
    assert TABLES.keys() == {one.table for one in DEFINITIONS.values()} - {""}
    assert not TABLES.keys() & DEFINITIONS.keys()


def test_no_key_repeats_the_name_of_its_table() -> None:
    assert not [one.key for one in DEFINITIONS.values() if one.key.startswith(f"{one.table}.{one.table}_")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('redis.ulr = "x"', "unknown setting 'redis.ulr'; did you mean url in the table [redis]?"),
        ('redis.redis_url = "x"', "unknown setting 'redis.redis_url'; did you mean url in the table [redis]?"),
        ('redis_ulr = "x"', "unknown setting 'redis_ulr'; did you mean url in the table [redis]?"),
        ("check.refresh_grace = 1", "did you mean refresh_grace in the table [tokens]?"),
        ("refresh_grase = 1", "did you mean refresh_grace in the table [tokens]?"),
        ("[redis]\nbase_domain = 1", "did you mean base_domain at the top of the file, above all tables?"),
        ('isuer = "x"', "unknown setting 'isuer'; did you mean issuer at the top of the file, above all tables?"),
        ("[rediss]\nurl = 1", "unknown setting 'rediss'; did you mean the table [redis]?"),
        ("[[service]]\nname = 'x'", "unknown setting 'service'; did you mean the table [[services]]?"),
        ('"redis.url" = "x"', "unknown setting 'redis.url'; did you mean url in the table [redis]?"),
        ("redis = 1", "redis must be a table: write [redis]"),
        ("[[redis]]\nurl = 1", "redis must be a table: write [redis]"),
        ("xyzzy = 1", "unknown setting 'xyzzy'"),
        (
            "[identity_headers]\nuser_nam = 'x'",
            "identity_headers.user_nam: unknown setting; did you mean user_name?",
        ),
        ("[roles.a]\npermisions = 'x'", "roles.a.permisions: unknown setting; did you mean permissions?"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest_one(text: str, expected: str, config: Path) -> None:
    told = faults(config, f"{text}\n{ONE_SERVICE}")
    assert any(expected in fault for fault in told), told


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ("upstrem = 'x'", "services.0.upstrem: unknown setting; did you mean upstream?"),
        ("permissions = { tool = {} }", "services.0.permissions.tool: unknown setting; did you mean tools?"),
    ],
)
def test_an_unknown_key_of_a_service_is_refused_with_the_nearest_one(
    service: str, expected: str, config: Path
) -> None:
    assert expected in faults(config, f"{ONE_SERVICE}{service}")


@given(st.text(max_size=30), st.sampled_from(["", *TABLES]))
def test_an_unknown_name_gives_one_line_with_suggestions_that_exist(name: str, table: str) -> None:
    for fault in (unknown_setting(name, table, DEFINITIONS), unknown_table(name, DEFINITIONS)):
        assert fault.startswith("unknown setting ")
        assert fault.isprintable()
        suggested = fault.partition("; did you mean ")[2].removesuffix("?").split(" or ")
        places = {location_in_words(one) for one in DEFINITIONS.values()}
        tables = {f"the table [{one}]" for one in TABLES} | {f"the table [[{one}]]" for one in DEFINITIONS}
        tables |= {f"the table [{one}]" for one in DEFINITIONS}
        assert {one for one in suggested if one} <= places | tables


# -- faults ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in samples.PLAIN if "minimum" in samples.schema_of(name)])
def test_a_fault_names_the_setting_as_in_the_file_and_its_variable(name: str, config: Path) -> None:
    definition = DEFINITIONS[name]
    for text, variables, named in (
        (f"{definition.key} = -1", {}, definition.key),
        (f"{name} = -1", {}, definition.key),
        ("", {definition.variable: "-1"}, f"{definition.key} ({definition.variable})"),
    ):
        with pytest.raises(SettingsError) as caught:
            read(name, config, text, **variables)
        assert any(fault.startswith(f"{named}: ") for fault in caught.value.faults), caught.value.faults
