"""A stolen refresh token is found, ended and shown with the commands of `docs/incidents.md`, and
all of them work.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from oauth_core.process import private_files
from tests.support.alerts import GATEWAY, SECRET, receiving
from tests.support.authz_process import wait_for_news
from tests.support.mcp_clients import claims_of, probe
from tests.support.oauth_client import OAuthClient, Pkce
from tests.support.programs import until
from tests.support.project import ROOT
from tests.support.refreshes import let_pass_since_refreshes

if TYPE_CHECKING:
    from tests.support.alerts import Receiver
    from tests.support.gateway import RunningGateway

PAGE = (ROOT / "docs" / "incidents.md").read_text(encoding="utf-8")
EXTENTS = re.findall(r"`(portcullis audit [^`]+)`", PAGE)
"""The commands in the text that show the extent of an incident."""
EXAMPLE = [
    command
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for command in block.splitlines()
]
pytestmark = pytest.mark.timeout(900)  # some thirty commands, each of which starts Python
VICTIM, VICTIMS_ADDRESS, THIEFS_ADDRESS = "tove", "127.0.0.21", "127.0.0.22"


@dataclass(frozen=True)
class Theft:
    """A refresh token that a thief used, until both lost all access; and a shell of the operator."""

    gateway: RunningGateway
    folder: Path
    client_id: str
    grant_id: str
    stolen_jti: str

    def run(self, command: str) -> str:
        """Run a line of the page in a shell, with the values of this theft. Return its standard output."""
        values = {
            "GRANT_ID": self.grant_id,
            "CLIENT_ID": self.client_id,
            "JTI": self.stolen_jti,
            "USER": VICTIM,
            "ADDRESS": THIEFS_ADDRESS,
        }
        line = re.sub("|".join(values), lambda found: values[found[0]], command)
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=self.folder,
            env={
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "HOME": str(self.folder),
                "REDIS_TIMEOUT": "20",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def events(self, command: str) -> list[dict[str, Any]]:
        """The events of a command of `portcullis audit`."""
        return [json.loads(line) for line in self.run(f"{command} --json").splitlines()]


def browser_at(address: str) -> httpx2.AsyncClient:
    """HTTP from another address of this machine."""
    return httpx2.AsyncClient(timeout=60.0, transport=httpx2.AsyncHTTPTransport(local_address=address))


async def called(http: httpx2.AsyncClient, resource: str, token: str, status: int) -> None:
    """A call of a service that gets this answer."""
    async with asyncio.timeout(60):
        while (await probe(http, resource, token)).status_code != status:
            pass


@pytest.fixture
async def theft(gateway: RunningGateway, tmp_path: Path) -> Theft:
    resource = gateway.resource("whoami")
    async with browser_at(VICTIMS_ADDRESS) as at_the_victim, browser_at(THIEFS_ADDRESS) as at_the_thief:
        client = OAuthClient(gateway.url)
        await client.http.aclose()
        client.http = at_the_victim
        client_id = (await client.register()).client_id
        pkce = Pkce.fresh()
        url = client.authorize_url(client_id, pkce.challenge, resource=resource)
        code = (await client.authorize(url, VICTIM))["code"]
        first = (await client.redeem(client_id, code, pkce.verifier)).json()
        await called(at_the_victim, resource, first["access_token"], 200)
        stolen = first["refresh_token"]
        client.http = at_the_thief
        taken = (await client.refresh(client_id, stolen)).json()
        await called(at_the_thief, resource, taken["access_token"], 200)
        # The thief continues. An hour later, the client's token is too old for a repeated request.
        again = (await client.refresh(client_id, taken["refresh_token"])).json()
        await called(at_the_thief, resource, again["access_token"], 200)
        with gateway.operator_redis() as redis:
            let_pass_since_refreshes(redis, stolen, 3600)
            client.http = at_the_victim
            assert (await client.refresh(client_id, stolen)).status_code == 400
            wait_for_news(redis)
        await called(at_the_thief, resource, again["access_token"], 401)
    (tmp_path / "file-with-the-token").write_text(stolen, encoding="utf-8")
    (tmp_path / ".portcullis").symlink_to(gateway.state_dir)
    grant_id = stolen.partition(".")[0]
    found = Theft(gateway, tmp_path, client_id, grant_id, str(claims_of(taken["access_token"])["jti"]))

    def recorded() -> bool:
        shown = found.events(f"portcullis audit timeline grant:{grant_id}")
        return {"refresh.reused", "access.denied"} <= {event["event"] for event in shown}

    until(recorded, "the record of the theft")
    return found


def test_each_command_that_stops_an_incident_has_one_that_shows_its_extent() -> None:
    table = re.search(r"\| its extent \|\n\|---\|---\|---\|\n((?:\|.*\n)+)", PAGE)
    assert table is not None
    rows = [row.strip("| ").split(" | ") for row in table[1].splitlines()]
    assert len(rows) >= 9
    for _, stops, extent in rows:
        assert stops.startswith("`portcullis ")
        assert extent.startswith("`portcullis audit ")


def test_each_command_of_the_example_that_ends_access_is_followed_by_one_that_shows_its_extent() -> None:
    ends = re.compile(r"portcullis (users (block|revoke)|clients (disable|revoke|delete)|(grants|tokens) revoke)")
    found = [following for command, following in pairwise([*EXAMPLE, ""]) if ends.match(command)]
    assert len(found) >= 2
    assert [one for one in found if not one.startswith("portcullis audit ")] == []


def test_each_section_with_a_command_that_stops_something_shows_its_extent() -> None:
    stops = re.compile(r"^ {4}portcullis (services disable|pause|clients disable|users accept)", re.MULTILINE)
    sections = [section for section in PAGE.split("\n## ") if stops.search(section)]
    assert len(sections) == 4
    assert [section.splitlines()[0] for section in sections if "`portcullis audit " not in section] == []


def alert_about(theft: Theft, receiver: Receiver) -> dict[str, Any]:
    """Run the program for alerts over the record of the gateway; the alert about the grant of the theft."""
    secret = private_files.write(theft.folder / "hook.secret", SECRET)
    (theft.folder / "alerts.toml").write_text(
        f'{GATEWAY}[audit]\ndir = "{theft.gateway.state_dir}/audit"\n[alerts]\n'
        f'outbox = "{theft.folder}/alerts.sqlite3"\n[[alerts.destinations]]\nname = "hook"\nkind = "webhook"\n'
        f'url = "{receiver.url}"\nsecret_file = "{secret}"\n',
        encoding="utf-8",
    )

    def found() -> list[dict[str, Any]]:
        theft.run("portcullis alerts run --once --config alerts.toml")
        alerts = [one.data for one in receiver.received]
        return [one for one in alerts if one["rule"] == "refresh_token_reuse" and theft.grant_id in one["subject"]]

    until(found, "the alert")
    return found()[0]


async def account_page(theft: Theft) -> str:
    """The account page of the victim."""
    async with OAuthClient(theft.gateway.url) as browser:
        to_github = await browser.http.post(f"{browser.issuer}/account/sign-in")
        await browser.http.get(await browser.from_github(to_github, VICTIM))
        return (await browser.http.get(f"{browser.issuer}/account")).text


async def test_the_theft_causes_an_alert_with_working_commands_and_the_person_reads_what_happened(
    theft: Theft,
) -> None:
    with receiving() as receiver:
        alert = alert_about(theft, receiver)
    assert f"portcullis audit timeline grant:{theft.grant_id}" in alert["extent"]
    for command in alert["extent"]:
        assert theft.grant_id in theft.run(f"{command} --json"), command
    stops = [
        command for command in EXAMPLE if re.match("portcullis (users (un)?block|clients (dis|en)able)", command)
    ]
    assert len(stops) == 4
    for command in stops:
        theft.run(command)

    async def is_told() -> bool:
        page = await account_page(theft)  # a sign-in within the second of the block is void
        return all(text in page for text in ("its key was used twice", "You were blocked", "stolen laptop"))

    async with asyncio.timeout(60):
        while not await is_told():
            pass


async def test_a_stolen_refresh_token_is_found_ended_and_shown_with_the_commands_of_the_page(theft: Theft) -> None:
    outputs = {command: theft.run(command) for command in EXAMPLE}
    found = [
        json.loads(line)
        for line in outputs["portcullis audit search --event refresh.reused --since -1d --json"].splitlines()
    ]
    assert (theft.grant_id, VICTIMS_ADDRESS) in {(one["grant_id"], one["source"]) for one in found}

    (detected,) = (text for command, text in outputs.items() if "audit detect" in command)
    assert "(refresh_token_reuse)" in detected
    assert theft.grant_id in detected
    of_the_client = outputs["portcullis audit timeline client:CLIENT_ID --since -7d"]
    assert "client.disabled" in of_the_client
    assert "leaks its tokens" in of_the_client

    timeline = theft.events("portcullis audit timeline grant:GRANT_ID")
    done = [one for one in timeline if one["outcome"] != "intent"]
    steps = [(one["event"], one.get("source")) for one in done if one.get("grant_id") == theft.grant_id]
    refreshes = [source for event, source in steps if event == "token.refreshed"]
    assert refreshes == [THIEFS_ADDRESS, THIEFS_ADDRESS]
    assert ("refresh.reused", VICTIMS_ADDRESS) in steps
    calls = [(one["event"], one["source"], one.get("service")) for one in done if "access." in one["event"]]
    callers = [source for (event, source, service), _ in groupby(calls) if event == "access.allowed"]
    assert callers == [VICTIMS_ADDRESS, THIEFS_ADDRESS]
    assert {service for _, _, service in calls} == {"whoami"}
    ended = next(one["time"] for one in done if one["event"] == "grant.revoked")
    assert calls[-1][0] == "access.denied"
    text = outputs["portcullis audit timeline grant:GRANT_ID"]
    assert re.search(rf"addresses .*{THIEFS_ADDRESS} \(", text)
    assert re.search(r"services .*whoami \(", text)

    of_the_person = outputs["portcullis audit timeline user:USER --since -7d"]
    assert "user.blocked" in of_the_person
    assert "stolen laptop" in of_the_person

    def is_proven() -> bool:
        return "; all sealed by the checkpoint " in theft.run("portcullis audit timeline grant:GRANT_ID")

    until(is_proven, "the sealer to cover the whole timeline")
    of_the_thief = theft.events("portcullis audit search --source ADDRESS --since -7d")
    assert {one["source"] for one in of_the_thief} == {THIEFS_ADDRESS}
    assert {one["user"] for one in of_the_thief if one["event"] == "access.allowed"} == {VICTIM}
    assert [one for one in of_the_thief if one["event"] == "access.allowed" and one["time"] > ended] == []


async def test_every_command_of_the_page_that_shows_an_extent_works(theft: Theft) -> None:
    assert len(EXTENTS) >= 12
    texts = {command: theft.run(command) for command in EXTENTS if "id:" not in command}
    about_the_thief = [command for command in texts if re.search("JTI|GRANT_ID|CLIENT_ID|USER|file-with", command)]
    assert len(about_the_thief) >= 6
    for command in about_the_thief:
        assert THIEFS_ADDRESS in texts[command], command
