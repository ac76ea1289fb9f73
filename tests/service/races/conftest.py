"""Two authorization servers on one Redis, and the processes that race for codes and tokens."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.service.races.racer import PROCESSES, Answers, Race
from tests.support.oauth_client import OAuthClient
from tests.support.project import ROOT
from tests.support.web_process import WebServer, another_web, running_web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping


@pytest.fixture(scope="package")
def web() -> Iterator[WebServer]:
    """The first server."""
    with running_web() as server:
        yield server


@pytest.fixture(scope="package")
def token_urls(web: WebServer) -> Iterator[list[str]]:
    """The token endpoint of each server."""
    with another_web(web, {}) as address:
        yield [f"{web.issuer}/token", f"{address}/token"]


@pytest.fixture
async def client(web: WebServer) -> AsyncIterator[OAuthClient]:
    """A client with a browser of its own."""
    async with OAuthClient(web.issuer) as client:
        yield client


@pytest.fixture
def race(token_urls: list[str]) -> Race:
    """Send each of the forms from its own process, `times` times, all at the same moment."""

    def race(*forms: Mapping[str, str], times: int = 50 // PROCESSES) -> Answers:
        with ExitStack() as stack:
            racers = [stack.enter_context(_racer()) for _ in forms]
            for racer, form in zip(racers, forms, strict=True):
                _tell(racer, json.dumps({"urls": token_urls, "form": form, "times": times}))
            for racer in racers:
                assert racer.stdout is not None
                assert racer.stdout.readline() == "ready\n"
            for racer in racers:
                _tell(racer, "go")
            told = [racer.communicate(timeout=90)[0] for racer in racers]
        return [(status, body) for line in told for status, body in json.loads(line)]

    return race


def _racer() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.service.races.racer"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def _tell(racer: subprocess.Popen[str], line: str) -> None:
    assert racer.stdin is not None
    racer.stdin.write(f"{line}\n")
    racer.stdin.flush()
