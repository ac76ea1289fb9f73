"""The pages in a real browser, through the complete gateway: with only a keyboard, on a phone, in dark mode.

Also what only a browser enforces: the content security policy, cookies' attributes, frames, form redirects.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest

from tests.support.chromium import MISSING, PROGRAM, person, running_chromium
from tests.support.http_servers import serving
from tests.support.oauth_client import SESSION, Pkce

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from tests.support.chromium import Person
    from tests.support.gateway import RunningGateway

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=MISSING)
PHONE: dict[str, Any] = {"viewport": {"width": 320, "height": 640}, "has_touch": True, "is_mobile": True}
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def somebody(browser: Browser) -> Iterator[Person]:
    """A person whose browser must report no error."""
    with person(browser) as somebody:
        yield somebody
        assert somebody.complaints == []


class App:
    """A client on this device: it waits on loopback for the redirect of the browser."""

    def __init__(self, gateway: str, name: str, port: int) -> None:
        self.gateway = gateway
        self.redirect_uri = f"http://127.0.0.1:{port}/callback"
        answer = httpx2.post(
            f"{gateway}/register",
            json={
                "client_name": name,
                "redirect_uris": [self.redirect_uri],
                "grant_types": ["authorization_code", "refresh_token", DEVICE_GRANT],
                "token_endpoint_auth_method": "none",
            },
        )
        self.client_id = answer.raise_for_status().json()["client_id"]
        self.pkce = Pkce.fresh()

    def authorize_url(self, **parameters: str) -> str:
        asked = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "code_challenge": self.pkce.challenge,
            "code_challenge_method": "S256",
            "state": "state-of-the-app",
            **parameters,
        }
        return f"{self.gateway}/authorize?{urlencode(asked)}"

    def redeem(self, came_back: str) -> dict[str, Any]:
        got = {name: values[0] for name, values in parse_qs(urlsplit(came_back).query).items()}
        assert (got["state"], got["iss"]) == ("state-of-the-app", self.gateway)
        return self._token(
            grant_type="authorization_code",
            code=got["code"],
            redirect_uri=self.redirect_uri,
            code_verifier=self.pkce.verifier,
        )

    def device_codes(self) -> dict[str, Any]:
        answer = httpx2.post(f"{self.gateway}/device_authorization", data={"client_id": self.client_id})
        codes: dict[str, Any] = answer.raise_for_status().json()
        return codes

    def poll(self, device_code: str) -> dict[str, Any]:
        return self._token(grant_type=DEVICE_GRANT, device_code=device_code)

    def _token(self, **form: str) -> dict[str, Any]:
        answer = httpx2.post(f"{self.gateway}/token", data={"client_id": self.client_id, **form})
        tokens: dict[str, Any] = answer.raise_for_status().json()
        return tokens


DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


class _Page(BaseHTTPRequestHandler):
    """The page of an app after the redirect, and a page of an attacker that frames ours."""

    def do_GET(self) -> None:
        framed = parse_qs(urlsplit(self.path).query).get("frame", [""])[0]
        text = f"<iframe src='{framed}'></iframe>" if framed else "<p>You can close this page.</p>"
        body = f"<!doctype html><link rel=icon href='data:,'>{text}".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def serving_pages() -> Iterator[int]:
    """A web server on its own loopback port, for the block."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server, serving(server):
        yield server.server_port


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The loopback port of the apps."""
    with serving_pages() as port:
        yield port


@pytest.fixture
def app(gateway: RunningGateway, port: int, request: pytest.FixtureRequest) -> App:
    return App(gateway.url, f"App of {request.node.name[:60]}", port)


def sign_in_at_github(somebody: Person, login: str = "octavia") -> None:
    """Sign in on the stand-in's page."""
    assert "/login/oauth/authorize" in somebody.page.url
    somebody.press(login)


def signed_in(somebody: Person, app: App, login: str = "octavia") -> dict[str, Any]:
    """Connect `app` with only the keyboard. Return its tokens."""
    somebody.go(app.authorize_url())
    somebody.press("Allow and sign in")
    sign_in_at_github(somebody, login)
    assert somebody.page.url.startswith(app.redirect_uri)
    return app.redeem(somebody.page.url)


def at_github(somebody: Person) -> int:
    return sum("/login/oauth/authorize" in url for url in somebody.visited)


@pytest.mark.requirement("complaints:fastmcp-2302")
def test_signing_in_works_with_only_a_keyboard_and_a_second_time_without_a_redirect_to_github(
    gateway: RunningGateway, somebody: Person, app: App, port: int
) -> None:
    assert signed_in(somebody, app)["token_type"] == "Bearer"
    trips = at_github(somebody)
    another = App(gateway.url, "Another app", port)
    somebody.go(another.authorize_url())
    somebody.press("Allow as octavia")
    assert another.redeem(somebody.page.url)["access_token"]
    assert at_github(somebody) == trips


def test_cookies_cannot_be_read_by_scripts_or_sent_by_other_sites(somebody: Person, app: App) -> None:
    signed_in(somebody, app)
    cookies = {cookie["name"]: cookie for cookie in somebody.context.cookies(app.gateway)}
    ours = {name: cookie for name, cookie in cookies.items() if name.startswith("portcullis")}
    assert set(ours) == {"portcullis", SESSION}
    assert {(cookie["httpOnly"], cookie["sameSite"], cookie["path"]) for cookie in ours.values()} == {
        (True, "Lax", "/")
    }
    somebody.go(f"{app.gateway}/account")
    assert SESSION not in somebody.page.evaluate("document.cookie")


def test_cancelling_redirects_to_the_app(somebody: Person, app: App) -> None:
    somebody.go(app.authorize_url())
    somebody.press("Cancel")
    assert "error=access_denied" in somebody.page.url
    assert somebody.page.url.startswith(app.redirect_uri)


def test_a_device_can_be_connected_with_only_a_keyboard(somebody: Person, app: App) -> None:
    codes = app.device_codes()
    somebody.go(codes["verification_uri"])
    somebody.type_into("Code", codes["user_code"].lower())
    assert codes["user_code"] in somebody.page.inner_text("main")
    somebody.press("Allow and sign in")
    sign_in_at_github(somebody)
    assert somebody.page.inner_text("h1") == "Connected"
    assert app.poll(codes["device_code"])["access_token"]


def test_the_account_page_disconnects_and_signs_out_with_only_a_keyboard(somebody: Person, app: App) -> None:
    tokens = signed_in(somebody, app, "marek")
    somebody.go(f"{app.gateway}/account")
    assert "marek" in somebody.page.inner_text("main")
    somebody.press("Disconnect App of")
    assert somebody.page.inner_text("[role=status]").startswith("The app is disconnected")
    answer = httpx2.get(f"{app.gateway}/whoami/mcp", headers={"Authorization": f"Bearer {tokens['access_token']}"})
    assert answer.status_code == 401
    somebody.press("Sign out")
    assert somebody.page.inner_text("h1") == "Signed out"
    assert not [c for c in somebody.context.cookies(app.gateway) if c["name"].startswith("portcullis")]
    somebody.page.go_back()
    somebody.page.reload()
    assert "marek" not in somebody.page.inner_text("main")


def test_a_page_of_another_site_cannot_frame_ours(browser: Browser, app: App, port: int) -> None:
    with person(browser) as somebody:
        signed_in(somebody, app)
        for ours in (app.authorize_url(), f"{app.gateway}/account", f"{app.gateway}/device"):
            somebody.go(f"http://127.0.0.1:{port}/?{urlencode({'frame': ours})}")
            somebody.wait_for_complaint("frame-ancestors", "X-Frame-Options")
            frame = somebody.page.frames[1]
            assert "form_token" not in frame.content()
            assert 'name="handle"' not in frame.content()
            assert 'name="user_code"' not in frame.content()
            somebody.complaints.clear()


# -- appearance ---------------------------------------------------------------------------------------------------

_OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# The lowest contrast of any text with its background, by the formula of WCAG 2.2.
_CONTRAST = """() => {
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = e => { for (; e; e = e.parentElement) {
    const colour = parse(getComputedStyle(e).backgroundColor);
    if (colour.length == 3 || colour[3] > 0) return colour; } return [255, 255, 255]; };
  const texts = [...document.querySelectorAll('main *')].filter(e =>
    [...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim()));
  return Math.min(...texts.map(e => {
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05); }));
}"""


@contextmanager
def looking(browser: Browser, name: str, looks: dict[str, Any]) -> Iterator[Person]:
    with person(browser, **looks) as somebody:
        yield somebody
        assert [told for told in somebody.complaints if "400" not in told] == [], name


def check_looks(somebody: Person, name: str) -> None:
    """No content is wider than the screen, all text is readable, all targets are large enough, and there is a
    heading and a language.
    """
    page = somebody.page
    somebody.keep_picture(name)
    assert page.evaluate(_OVERFLOW) <= 0, f"{name} is wider than the screen"
    assert page.evaluate(_CONTRAST) >= 4.5, f"{name} has too little contrast"
    assert page.locator("h1").count() == 1
    assert page.get_attribute("html", "lang") == "en"
    for button in page.get_by_role("button").all():
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= 24, f"{name}: too small to click"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["phone", "desktop"])
def test_every_page_is_readable(
    gateway: RunningGateway, browser: Browser, port: int, size: str, scheme: str
) -> None:
    looks = {**(PHONE if size == "phone" else DESKTOP), "color_scheme": scheme}
    name = "An app with quite a long name that goes on and onandonandonandonandonandonandon"
    app, url = App(gateway.url, name, port), gateway.url
    codes = app.device_codes()
    with looking(browser, f"{size}-{scheme}", looks) as somebody:
        page = somebody.page

        def look(what: str) -> None:
            check_looks(somebody, f"{what}-{size}-{scheme}")

        dark = page.goto(url) and page.evaluate("getComputedStyle(document.body).backgroundColor")
        channels = [int(value) for value in re.findall(r"\d+", str(dark))[:3]]
        assert (max(channels) < 64) == (scheme == "dark")
        look("home")
        for path, what in (("/authorize?client_id=x", "error"), ("/device", "device"), ("/account", "signed-out")):
            page.goto(f"{url}{path}")
            look(what)
        page.goto(codes["verification_uri_complete"])
        somebody.click("Continue")
        look("device-consent")
        page.go_back()
        page.get_by_label("Code").fill("wrong")
        somebody.click("Continue")
        look("device-fault")
        page.goto(codes["verification_uri_complete"])
        somebody.click("Continue")
        somebody.click("Allow and sign in")
        somebody.click("octavia")
        assert page.inner_text("h1") == "Connected"
        look("connected")
        app.poll(codes["device_code"])
        page.goto(app.authorize_url())
        look("consent")
        somebody.click("Allow as octavia")
        came_back = page.url
        app.redeem(came_back)
        with pytest.raises(httpx2.HTTPStatusError, match="400"):
            app.redeem(came_back)
        page.goto(f"{url}/account")
        assert "its code was used twice" in page.inner_text("li.warning")
        look("account")


def test_a_double_click_on_allow_works_like_one_click(somebody: Person, app: App) -> None:
    signed_in(somebody, app)
    somebody.go(app.authorize_url())
    somebody.page.get_by_role("button", name="Allow as octavia").dblclick(no_wait_after=True)
    somebody.page.wait_for_url(f"{app.redirect_uri}?*")
    assert app.redeem(somebody.page.url)["token_type"] == "Bearer"


def test_two_web_clients_in_one_browser_read_the_same_document(gateway: RunningGateway, somebody: Person) -> None:
    """The browser caches the document; the copy with the first page's origin is no valid answer for the second."""
    document = f"{gateway.url}/.well-known/oauth-authorization-server"
    with serving_pages() as first, serving_pages() as second:
        for port in (first, second):
            somebody.go(f"http://localhost:{port}/")
            issuer = somebody.page.evaluate("async url => (await (await fetch(url)).json()).issuer", document)
            assert issuer == gateway.url


_CALL = """async (url) => {
  const sent = {
    "Content-Type": "application/json", "Authorization": "Bearer none",
    "Mcp-Protocol-Version": "2026-07-28", "Mcp-Session-Id": "x",
    "Mcp-Method": "tools/call", "Mcp-Name": "a", "Mcp-Param-Region": "eu", "Mcp-Param-Tenant": "7",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "a=b", "baggage": "c=d",
  };
  const answer = await fetch(url, {method: "POST", headers: sent, body: "{}"});
  return [answer.status, answer.headers.get("www-authenticate")];
}"""


def test_a_page_of_another_origin_may_send_the_headers_of_mcp_and_read_the_challenge(
    gateway: RunningGateway, browser: Browser, port: int
) -> None:
    """A browser sends no request whose preflight does not allow each of its headers."""
    page = browser.new_page()
    try:
        page.goto(f"http://127.0.0.1:{port}/app")
        status, challenge = page.evaluate(_CALL, gateway.resource("time"))
    finally:
        page.close()
    assert status == 401
    assert "resource_metadata" in challenge
