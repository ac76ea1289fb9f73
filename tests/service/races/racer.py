"""One of several processes that send the same form at the same moment: `python -m tests.service.races.racer`.

It reads a line of JSON (`urls`, `form`, `times`), prints `ready`, waits for the next line, and then sends all
requests at once, to each server in turn. It prints the answers as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from itertools import cycle, islice
from typing import Any

import httpx2

PROCESSES = 5
"""The number of racing processes."""

Answers = list[tuple[int, dict[str, Any]]]
Race = Callable[..., Answers]


async def _race(plan: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    async with httpx2.AsyncClient(timeout=60.0, limits=httpx2.Limits(max_connections=None)) as http:

        async def send(url: str) -> tuple[int, dict[str, Any]]:
            answer = await http.post(url, data=plan["form"])
            return answer.status_code, answer.json()

        await asyncio.gather(*(http.get(url) for url in plan["urls"]))
        print("ready", flush=True)  # noqa: T201 - this is what the program is for
        await asyncio.to_thread(sys.stdin.readline)
        return await asyncio.gather(*(send(url) for url in islice(cycle(plan["urls"]), plan["times"])))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_race(json.loads(sys.stdin.readline())))))  # noqa: T201
