"""Two browsers for the doctor's sign-in: one of its own for the local stand-in, else the user's browser."""

from __future__ import annotations

import asyncio
import webbrowser
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urljoin, urlsplit

from portcullis.doctor.http_clients import HttpClientFactory

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2

_MOST_STEPS = 10
_PATIENCE = 300.0
_DONE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nDone. You can close this page.\n"


class SignInError(Exception):
    """The sign-in did not finish. The message says where it stopped."""


class Browser(Protocol):
    """A browser that can take a user through the sign-in."""

    async def visit(self, url: str, redirect_uri: str) -> str:
        """Go from `url` to the redirect that ends the sign-in; return its URL. Raises `SignInError`."""


class LocalBrowser:
    """Fills in the consent page and the stand-in's page as `login`, as a person does, with cookies."""

    def __init__(self, login: str, clients: HttpClientFactory | None = None) -> None:
        self._login = login
        self._clients = clients or HttpClientFactory()

    async def visit(self, url: str, redirect_uri: str) -> str:
        """Print `url` for a person, and wait on loopback until their browser comes to `redirect_uri`."""
        async with self._clients.client(timeout=15.0) as http:
            answer = await http.get(url)
            for _ in range(_MOST_STEPS):
                if answer.has_redirect_location:
                    location = urljoin(str(answer.url), answer.headers["Location"])
                    if location.startswith(redirect_uri):
                        return location
                    answer = await http.get(location)
                    continue
                form = _Form.parse(answer)
                fields = form.fields | ({"login": self._login} if form.asks_login else {"decision": "allow"})
                answer = await http.post(urljoin(str(answer.url), form.action), data=fields)
        raise SignInError(f"the sign-in did not end within {_MOST_STEPS} steps")


class SystemBrowser:
    """Opens the user's own browser and waits for its redirect to a loopback address."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    async def visit(self, url: str, redirect_uri: str) -> str:
        """See `Browser.visit`."""
        came_back: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            target = (await reader.readline()).decode("latin-1").split(" ")
            if len(target) > 1 and target[1].startswith(urlsplit(redirect_uri).path) and not came_back.done():
                came_back.set_result(urljoin(redirect_uri, target[1]))
            writer.write(_DONE)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", urlsplit(redirect_uri).port)
        async with server:
            self._say(f"Sign in with your browser; if it does not open, go to:\n  {url}")
            await asyncio.to_thread(webbrowser.open, url)
            try:
                async with asyncio.timeout(_PATIENCE):
                    return await came_back
            except TimeoutError:
                raise SignInError(f"the sign-in did not end within {_PATIENCE:.0f} seconds") from None


class _Form(HTMLParser):
    """The first form of a page: its action and its hidden fields."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str = ""
        self.fields: dict[str, str] = {}
        self.asks_login = False
        self._found = False

    @classmethod
    def parse(cls, answer: httpx2.Response) -> _Form:
        form = cls()
        form.feed(answer.text)
        if not form._found or not answer.is_success:
            raise SignInError(f"{answer.url.copy_with(query=None)} answered {answer.status_code} without a form")
        return form

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._found, self.action = True, given.get("action", "")
        elif given.get("name") == "login":
            self.asks_login = True
        elif tag == "input" and given.get("type") == "hidden":
            self.fields[given.get("name", "")] = given.get("value", "")
