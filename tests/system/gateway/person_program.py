"""A person at a browser, as a program, `python -m tests.system.gateway.person_program URL`.

It signs in and returns to the client.
"""

from __future__ import annotations

import asyncio
import sys
from urllib.parse import parse_qs, urlsplit

import httpx2

from portcullis.doctor.browsers import LocalBrowser


async def _sign_in(url: str) -> None:
    redirect_uri = parse_qs(urlsplit(url).query)["redirect_uri"][0]
    back = await LocalBrowser("octocat").visit(url, redirect_uri)
    # The client may still be opening its callback's port.
    async with httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(retries=8)) as http:
        (await http.get(back)).raise_for_status()


if __name__ == "__main__":
    asyncio.run(_sign_in(sys.argv[1]))
