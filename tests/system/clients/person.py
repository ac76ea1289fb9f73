"""The person at a client's browser: `python -m tests.system.clients.person FOLDER URL` signs in and returns to the
client.

In FOLDER the tests read what the person did, and write how the person must act: see `Person`.
"""

from __future__ import annotations

import asyncio
import shlex
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2

from portcullis.doctor.browsers import LocalBrowser, SignInError
from tests.support.project import ROOT


class Person:
    """One person, who acts as the files of `folder` define. `visits` are the URLs that a client opened."""

    def __init__(self, folder: Path) -> None:
        self._visits = folder / "visits"
        self._grants_only = folder / "grants-only"
        self._turned_away = folder / "turned-away"
        self.browser = folder / "browser"
        self.log = folder / "person.log"

    def move_in(self) -> None:
        """Make the program that clients start as `BROWSER`. Like a browser, it returns at once."""
        command = shlex.join([sys.executable, "-m", "tests.system.clients.person", str(self.browser.parent)])
        self.browser.write_text(
            f'#!/bin/sh\ncd {shlex.quote(str(ROOT))}\n{command} "$1" >>{shlex.quote(str(self.log))} 2>&1 &\n',
            encoding="utf-8",
        )
        self.browser.chmod(0o755)

    def grant_only(self, scope: str) -> None:
        """At the next visit, grant `scope` instead of the requested scope."""
        self._grants_only.write_text(scope, encoding="utf-8")

    @property
    def visits(self) -> list[dict[str, str]]:
        """The parameters of each authorization request that came to the browser."""
        if not self._visits.exists():
            return []
        urls = self._visits.read_text(encoding="utf-8").splitlines()
        return [{name: values[0] for name, values in parse_qs(urlsplit(url).query).items()} for url in urls]

    @property
    def turned_away(self) -> str | None:
        """The error that the person saw instead of the redirect to the client, if there was one."""
        return self._turned_away.read_text(encoding="utf-8") if self._turned_away.exists() else None

    async def sign_in(self, url: str) -> None:
        """Consent, sign in, and return to the client."""
        with self._visits.open("a", encoding="utf-8") as visits:
            visits.write(f"{url}\n")
        parameters = parse_qs(urlsplit(url).query)
        redirect_uri = parameters["redirect_uri"][0]
        if self._grants_only.exists():
            parameters["scope"] = [self._grants_only.read_text(encoding="utf-8")]
            self._grants_only.unlink()
            url = urlsplit(url)._replace(query=urlencode(parameters, doseq=True)).geturl()
        try:
            back = await LocalBrowser("octocat").visit(url, redirect_uri)
        except SignInError as error:
            self._turned_away.write_text(str(error), encoding="utf-8")
            return
        # The client may still be opening its callback's port.
        async with httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(retries=8)) as http:
            answer = await http.get(back)
        assert answer.status_code < 400, answer.text


if __name__ == "__main__":
    asyncio.run(Person(Path(sys.argv[1])).sign_in(sys.argv[2]))
