"""Settings: merged from file and environment, refused with all faults together, and never shown with a secret."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from pydantic import create_model

from oauth_core.errors import SettingsError
from oauth_core.jose.signing_keys import generate_key
from oauth_core.settings import (
    CONFIG_VARIABLE,
    DEFINITIONS,
    SECRETS,
    AuthzSettings,
    BackupSettings,
    EnvoySettings,
    WebSettings,
    load,
)
from oauth_core.settings.production import web_advice
from oauth_core.settings.sources import SettingValues, from_environment, from_file, validated
from oauth_core.settings.toml_places import lines_of
from tests.support.master_key import MASTER_KEY
from tests.unit.small_settings import CHECK, ENVIRONMENT, LOCAL, ONE_SERVICE, faults, web

if TYPE_CHECKING:
    from pathlib import Path


# -- sources ------------------------------------------------------------------------------------------------------


def test_a_small_file_and_the_secrets_are_enough(config: Path) -> None:
    settings = web(config)
    assert settings.issuer == "http://localhost:8080"
    assert settings.access_token_lifetime == 1800
    assert settings.refresh_token_lifetime == 31_536_000
    assert settings.allowed_github_users == ()
    assert settings.signing_algorithm == "ES256"


def test_the_environment_overrides_the_file_and_the_file_the_default(config: Path) -> None:
    text = f"tokens.access_token_lifetime = 600\nsign_in.timeout = 100\n{LOCAL}"
    settings = web(config, text, ACCESS_TOKEN_LIFETIME="900")
    assert (settings.access_token_lifetime, settings.session_timeout, settings.refresh_grace) == (900, 100, 10)


def test_the_environment_may_name_the_file(config: Path) -> None:
    config.write_text(LOCAL)
    assert load(EnvoySettings, None, {CONFIG_VARIABLE: str(config)}).issuer == "http://localhost:8080"


def test_a_file_given_as_an_argument_overrides_one_named_by_the_environment(config: Path) -> None:
    config.write_text(LOCAL)
    assert load(EnvoySettings, config, {CONFIG_VARIABLE: "/nowhere"}).issuer == "http://localhost:8080"


def test_a_list_in_the_environment_is_separated_by_commas(config: Path) -> None:
    assert web(config, ALLOWED_GITHUB_USERS=" octocat, ,hubot ,").allowed_github_users == ("octocat", "hubot")
    assert web(config, ALLOWED_GITHUB_USERS="").allowed_github_users == ()
    assert web(config, f'github.allowed_users = ["a", "b"]\n{LOCAL}').allowed_github_users == ("a", "b")


def test_settings_of_other_programs_are_no_fault_in_a_shared_file(config: Path) -> None:
    config.write_text(f'envoy.admin = "127.0.0.1:1"\ncheck.listen = "127.0.0.1:2"\n{LOCAL}')
    assert load(AuthzSettings, config, CHECK).authz_listen == ("127.0.0.1:2",)


def test_variables_of_other_programs_are_ignored(config: Path) -> None:
    config.write_text(LOCAL)
    settings = load(
        AuthzSettings, config, {**CHECK, **ENVIRONMENT, "PATH": "/bin", "SERVICES": "[]", "master_key": "x"}
    )
    assert not {"master_key", "github_client_secret"} & set(AuthzSettings.model_fields)
    assert "hush" not in settings.model_dump_json()


@pytest.mark.parametrize("name", sorted(DEFINITIONS))
def test_a_missing_setting_is_reported_with_exactly_the_places_where_it_can_be_set(
    name: str, config: Path
) -> None:
    only = create_model("Only", **{name: (str, ...)})  # type: ignore[call-overload]
    found: list[str] = []
    validated(only, SettingValues({}, DEFINITIONS, {}, {}), found)
    definition = DEFINITIONS[name]
    variable = name.upper()
    config.write_text("x")
    refused: list[str] = []
    by_variable = name in from_environment([definition], {variable: "x"}, refused)
    by_file = name in from_environment([definition], {f"{variable}_FILE": str(config)}, refused)
    config.write_text(f'{definition.key} = "x"')
    from_file(config, DEFINITIONS, refused)
    (message,) = found
    assert message.startswith(f"{definition.key} is not set: ")
    assert (f"set {variable} in the environment" in message) == by_variable
    assert (f"{variable}_FILE" in message) == by_file
    assert ("the settings file" in message) == (not refused)


# -- secrets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_secret_may_come_from_a_file_that_the_environment_names(name: str, config: Path, tmp_path: Path) -> None:
    keys = {"assertion_key": generate_key("ES256", now=0).to_pem().decode().strip()}
    value = keys.get(name, MASTER_KEY if name.endswith("_key") else "from-a-file")
    secret = tmp_path / "secret"
    secret.write_text(f"{value}\n")
    config.write_text(LOCAL)
    environ = {key: text for key, text in {**CHECK, **ENVIRONMENT}.items() if key != name.upper()}
    kind: type[BackupSettings | AuthzSettings] = (
        AuthzSettings if name in {"assertion_key", "session_key"} else BackupSettings
    )
    settings = load(kind, config, {**environ, f"{name.upper()}_FILE": str(secret)})
    assert getattr(settings, name).get_secret_value() == value


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_secret_in_the_settings_file_is_refused_and_not_repeated(name: str, config: Path) -> None:
    for kind in (WebSettings, EnvoySettings):
        (fault,) = faults(kind, config, f'{name} = "in-the-file-hush"\n{LOCAL}', ENVIRONMENT)
        assert name.upper() in fault
        assert "in-the-file-hush" not in fault


def test_a_secret_from_two_places_is_refused(config: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("another")
    environ = {**ENVIRONMENT, "REDIS_PASSWORD_FILE": str(tmp_path / "secret")}
    assert faults(WebSettings, config, LOCAL, environ) == ("REDIS_PASSWORD and REDIS_PASSWORD_FILE are both set",)


def test_an_unreadable_secret_file_is_reported_with_its_variable(config: Path, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"hush\xff")
    for place, reason in (("nowhere", "No such file"), ("binary", "not UTF-8"), (".", "directory")):
        environ = {key: value for key, value in ENVIRONMENT.items() if key != "REDIS_PASSWORD"}
        (fault,) = faults(WebSettings, config, LOCAL, {**environ, "REDIS_PASSWORD_FILE": str(tmp_path / place)})
        assert fault.startswith("REDIS_PASSWORD_FILE: ")
        assert reason in fault
        assert "hush" not in fault


def test_settings_do_not_show_their_secrets(config: Path) -> None:
    settings = web(config)
    for shown in (repr(settings), str(settings), settings.model_dump_json(), f"{settings.model_dump()}"):
        assert "hush" not in shown
        assert MASTER_KEY not in shown


@pytest.mark.parametrize("key", ["hush", "", MASTER_KEY[:-4], MASTER_KEY + "AAAA", "é" * 44, f"{MASTER_KEY} x"])
def test_a_master_key_of_another_size_is_refused_with_advice_and_not_repeated(key: str, config: Path) -> None:
    (fault,) = faults(WebSettings, config, LOCAL, {**ENVIRONMENT, "MASTER_KEY": key})
    assert "openssl rand -base64 32" in fault
    assert not key or key not in fault


def test_a_master_key_is_read_in_either_alphabet(config: Path) -> None:
    key = bytes([251, 255] * 16)
    for written in (base64.b64encode(key), base64.urlsafe_b64encode(key)):
        assert web(config, MASTER_KEY=written.decode()).master_key_bytes == key


# -- faults ------------------------------------------------------------------------------------------------------


def test_all_faults_are_reported_together(config: Path) -> None:
    text = (
        'issuer = "http://example.com"\ntokens.access_token_lifetime = 60\nsign_in.timeout = "soon"\n'
        'colour = "red"\ntokens.default_scopes = ["mcp.nothing"]\nredis.password = "x"\n'
        f'{ONE_SERVICE}[[services]]\nname = "time"\nurl = "ftp://example.com"\nupstream = "http://127.0.0.1:1"\n'
    )
    told = faults(WebSettings, config, text, {"MASTER_KEY": "short"})
    for expected in (
        "unknown setting 'colour'",
        "redis.password is a secret",
        "issuer 'http://example.com' must use https",
        "services time and time are both 'time'",
        "url of service time 'ftp://example.com'",
        "tokens.default_scopes: number 1 is the scope of no service; the most similar are mcp.time",
        "server.master_key (MASTER_KEY): must be 32 random bytes",
        "github.client_id is not set",
        "github.client_secret is not set: set GITHUB_CLIENT_SECRET in the environment or name a file with",
        "tokens.access_token_lifetime: is under 300 seconds",
        "sign_in.timeout: Input should be a valid integer",
    ):
        assert any(expected in fault for fault in told), expected
    assert len(told) == 11
    assert all("\n" not in fault for fault in told)


def test_the_fault_of_an_issuer_is_not_repeated_for_each_service(config: Path) -> None:
    told = faults(AuthzSettings, config, f'issuer = "http://example.com"\n{ONE_SERVICE}', CHECK)
    assert told == ("issuer 'http://example.com' must use https; only loopback addresses may use http",)


def test_invalid_toml_is_reported_with_its_line(config: Path) -> None:
    (fault,) = faults(AuthzSettings, config, 'issuer = "http://localhost"\nservices = ?\n', CHECK)
    assert "line 2" in fault
    assert str(config) in fault


@pytest.mark.parametrize(
    "text",
    [f"x = {'[' * 5000}{']' * 5000}", f"x = {'{a = ' * 5000}1{'}' * 5000}", f"x = {'9' * 5000}"],
    ids=["deep lists", "deep tables", "a long number"],
)
def test_toml_beyond_the_limits_of_the_parser_is_one_fault(text: str, config: Path) -> None:
    (fault,) = faults(AuthzSettings, config, f"{LOCAL}\n{text}\n", CHECK)
    assert fault.startswith(f"{config}: ")
    assert lines_of(f"issuer = 1\n{text}\n") == {("issuer",): 1}


def test_an_unreadable_file_is_one_line(config: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load(AuthzSettings, config, CHECK)
    config.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="utf-8"):
        load(AuthzSettings, config, CHECK)


@pytest.mark.parametrize(
    ("services", "fault"),
    [
        ("services = []", "services is empty"),
        ("", "services is not set"),
        ('services = "time"', "services: "),
        ('[[services]]\ncommand = ["x"]', "services.0.name is not set: put it in the settings file"),
        ('[[services]]\nname = "Time"\ncommand = ["x"]', "services.0.name: "),
        ('[[services]]\nname = "t/../x"\ncommand = ["x"]', "services.0.name: "),
        ('[[services]]\nname = "t"', "needs exactly one of upstream"),
        (
            '[[services]]\nname = "t"\ncommand = ["x"]\nupstream = "http://127.0.0.1"',
            "needs exactly one of upstream",
        ),
        ('[[services]]\nname = "t"\ncommand = []', "command is empty"),
        ('[[services]]\nname = "t"\ncommand = ["x"]\ncolour = 1', "services.0.colour: "),
        ('[[services]]\nname = "t"\ncommand = ["x"]\nscope = "a b"', "services.0.scope: "),
        ('[[services]]\nname = "t"\ncommand = ["x"]\ntransport = "carrier-pigeon"', "services.0.transport: "),
        ('[[services]]\nname = "t"\ncommand = ["x"]\nurl = "/token/mcp"', "path of the authorization server"),
        (
            '[[services]]\nname = "t"\ncommand = ["x"]\nurl = "/.well-known/mcp"',
            "path of the authorization server",
        ),
        ('[[services]]\nname = "t"\ncommand = ["x"]\nurl = "http://localhost:8080"', "path of the authorization"),
        ('[[services]]\nname = "t"\ncommand = ["x"]\nurl = "/t/../token"', "dotted"),
        ('[[services]]\nname = "t"\ncommand = ["x"]\nurl = "elsewhere"', "not an http or https URL"),
    ],
)
def test_an_invalid_service_is_refused(services: str, fault: str, config: Path) -> None:
    told = faults(AuthzSettings, config, f'issuer = "http://localhost:8080"\n{services}\n', CHECK)
    assert len(told) == 1, told
    assert fault in told[0]


def test_two_services_at_one_url_are_refused(config: Path) -> None:
    text = f'{LOCAL}[[services]]\nname = "other"\ncommand = ["x"]\nurl = "/time/mcp"\n'
    (fault,) = faults(AuthzSettings, config, text, CHECK)
    assert "services time and other are both" in fault


@pytest.mark.parametrize("timeout", ["nan", "inf", "-1", "0", "31", "soon", ""])
def test_the_timeout_for_redis_is_a_number_of_seconds_within_bounds(timeout: str, config: Path) -> None:
    (fault,) = faults(AuthzSettings, config, LOCAL, {**CHECK, "REDIS_TIMEOUT": timeout})
    assert fault.startswith("redis.timeout (REDIS_TIMEOUT): ")


def test_a_very_short_access_token_lifetime_needs_a_confirmation(config: Path) -> None:
    (fault,) = faults(WebSettings, config, LOCAL, {**ENVIRONMENT, "ACCESS_TOKEN_LIFETIME": "299"})
    assert fault.startswith("tokens.access_token_lifetime (ACCESS_TOKEN_LIFETIME): is under 300 seconds")
    assert web(config, ACCESS_TOKEN_LIFETIME="300").access_token_lifetime == 300
    short = web(config, ACCESS_TOKEN_LIFETIME="5", ALLOW_SHORT_ACCESS_TOKENS="true")
    assert short.access_token_lifetime == 5


def test_loopback_documents_are_allowed_only_for_a_local_issuer(config: Path) -> None:
    assert web(config, ALLOW_LOOPBACK_CLIENT_DOCUMENTS="true").allow_loopback_client_documents
    public = f'issuer = "https://auth.example.com"\n{ONE_SERVICE}'
    environ = {**ENVIRONMENT, "ALLOW_LOOPBACK_CLIENT_DOCUMENTS": "true"}
    (fault,) = faults(WebSettings, config, public, environ)
    assert "clients.allow_loopback_documents" in fault
    assert not web(config, public).allow_loopback_client_documents


# -- default of who may sign in -----------------------------------------------------------------------------------

STANDIN = {
    "GITHUB_URL": "http://localhost:8080/_github",
    "GITHUB_API_URL": "http://github-standin:9002/_github/api/v3",
    "GITHUB_BACKCHANNEL_URL": "http://github-standin:9002/_github",
}


def test_at_the_stand_in_all_people_may_sign_in_unless_a_list_is_set(config: Path) -> None:
    assert web(config, **STANDIN).eligibility.users == {"*"}
    assert web(config, **STANDIN, ALLOWED_GITHUB_USERS="").eligibility.users == {"*"}
    assert web(config, **STANDIN, ALLOWED_GITHUB_USERS="octocat").eligibility.users == {"octocat"}
    for groups in ({"ALLOWED_GITHUB_ORGS": "acme"}, {"ALLOWED_GITHUB_TEAMS": "acme/sre"}):
        assert web(config, **STANDIN, **groups).eligibility.users == set()


@pytest.mark.parametrize(
    "github",
    [
        {},
        {"GITHUB_URL": "https://github.com"},
        {"GITHUB_URL": "https://github.example", "GITHUB_API_URL": "https://github.example/api/v3"},
        STANDIN | {"GITHUB_API_URL": "https://api.github.com"},
        STANDIN | {"GITHUB_URL": "https://github.com"},
        STANDIN | {"GITHUB_BACKCHANNEL_URL": "https://github.com"},
    ],
)
@pytest.mark.parametrize("users", [{}, {"ALLOWED_GITHUB_USERS": ""}, {"ALLOWED_GITHUB_USERS": " , "}])
def test_at_a_real_github_an_empty_list_refuses_every_person(
    config: Path, github: dict[str, str], users: dict[str, str]
) -> None:
    admission = web(config, **github, **users).eligibility
    assert not admission.users
    assert not admission.groups


def test_the_stand_in_and_an_empty_list_at_github_are_reported_as_unsafe(config: Path) -> None:
    advice = {item.setting: item.text for item in web_advice(web(config, **STANDIN)) if item.kind == "unsafe"}
    assert "anyone can sign in as any person" in advice["github.url"]
    assert "github.allowed_users" not in advice
    advice = {item.setting: item.text for item in web_advice(web(config)) if item.kind == "unsafe"}
    assert "no person may sign in" in advice["github.allowed_users"]
