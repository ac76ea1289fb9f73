"""Origins of web pages that may call the gateway: in the spelling of browsers, or refused at the start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.errors import SettingsError
from oauth_core.net.public_urls import read_origin
from oauth_core.settings import EnvoySettings, load

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "portcullis.toml"
    path.write_text('issuer = "https://auth.example.com"\n[[services]]\nname = "time"\ncommand = ["x"]\n')
    return path


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("https://app.example.com/", "https://app.example.com"),
        ("HTTPS://App.Example.COM", "https://app.example.com"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://app.example.com:80/", "http://app.example.com"),
        ("http://app.example.com:443", "http://app.example.com:443"),
        ("https://app.example.com:08443", "https://app.example.com:8443"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("http://[0:0:0:0:0:0:0:1]:5", "http://[::1]:5"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("app://obsidian.md", "app://obsidian.md"),
        ("vscode-webview://0abc", "vscode-webview://0abc"),
        ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
        ("moz-extension://3c6a1b1e-8f5d", "moz-extension://3c6a1b1e-8f5d"),
        ("tauri://localhost", "tauri://localhost"),
        (f"https://{'a' * 63}.example", f"https://{'a' * 63}.example"),
    ],
)
def test_an_origin_is_compared_in_the_spelling_of_browsers(config: Path, written: str, sent: str) -> None:
    settings = load(EnvoySettings, config, {"ALLOWED_ORIGINS": written})
    assert settings.allowed_origins == (sent,)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "*",
            "null",
            "",
            "app.example.com",
            "//app.example.com",
            "https://",
            "https:///",
            "https:app.example.com",
        ),
        *("https://*.example.com", "https://app.*", "https://app.example.com/path", "https://app.example.com//"),
        *("https://app.example.com?x", "https://app.example.com#x", "https://me@app.example.com"),
        *(
            "https://app.example.com:0",
            "https://app.example.com:99999",
            "https://app.example.com:",
            "https://b\u00fccher.de",
        ),
        *("http://127.1", "http://0x7f.1", "http://127.0.0.01", "http://2130706433", "http://[::g]", "http://[1]"),
        *("https://app.example.com https://b.example", "https://app.example.com\n", "https://-a.example"),
        *(
            "htttp://app.example.com",
            "http+x://a.example",
            "file://x",
            "javascript://a",
            "data://a",
            "ws://a.example",
        ),
        *(
            "https://a..com",
            "https://.a.com",
            "https://a.com..",
            "https://a-.com",
            "https://a.-b.com",
            "https://a.b-",
        ),
        *(f"https://{'a' * 64}.example", f"https://{'a.' * 127}com", "blob://a", "about://a", "ftp://a.example"),
    ],
)
def test_a_text_that_no_browser_sends_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(ValueError, match="an origin"):
        read_origin(text)


def test_the_error_names_the_setting_of_a_refused_origin(config: Path) -> None:
    with pytest.raises(
        SettingsError,
        match=r"allowed_origins \(ALLOWED_ORIGINS\): number 2 is none that a browser sends: an origin is",
    ):
        load(EnvoySettings, config, {"ALLOWED_ORIGINS": "https://good.example,*"})


def test_a_password_in_a_refused_origin_is_not_repeated(config: Path) -> None:
    with pytest.raises(SettingsError, match=r"@app\.example") as refusal:
        load(EnvoySettings, config, {"ALLOWED_ORIGINS": "https://user:hush@app.example"})
    assert "hush" not in str(refusal.value.faults)


@given(st.text(max_size=40) | st.from_regex(r"https?://[A-Za-z0-9.:*/@-]{0,20}", fullmatch=True))
def test_any_text_is_a_stable_origin_or_a_clear_error(text: str) -> None:
    try:
        origin = read_origin(text)
    except ValueError:
        return
    assert read_origin(origin) == origin
    assert not origin.endswith("/")
