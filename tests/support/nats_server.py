"""A real NATS server with JetStream, from PyPI, for tests."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nats

from tests.support.ports import free_port
from tests.support.programs import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from nats.js import JetStreamContext

PROGRAM = Path(sys.executable).with_name("nats-server")
TOKEN = "token-of-the-stream"
SUBJECT = "portcullis.audit"


@dataclass
class NatsServer:
    """A running server. Its clients need the token."""

    url: str
    log: Path
    options: dict[str, Any]
    """The options of a client, besides the address."""

    def do(self, action: Callable[[JetStreamContext], Awaitable[Any]]) -> Any:
        """Run an action on JetStream."""

        async def run() -> Any:
            client = await nats.connect(self.url, token=TOKEN, connect_timeout=60, **self.options)
            try:
                return await action(client.jetstream(timeout=60))
            finally:
                await client.close()

        return asyncio.run(run())

    def make_stream(self, **settings: Any) -> None:
        """Make the stream that stores the records."""
        self.do(lambda stream: stream.add_stream(name="AUDIT", subjects=[SUBJECT], **settings))

    def messages(self) -> list[tuple[str, bytes]]:
        """The id and the content of each message of the stream, in its order."""

        async def read(stream: JetStreamContext) -> list[tuple[str, bytes]]:
            count = (await stream.stream_info("AUDIT")).state.messages
            found = [await stream.get_msg("AUDIT", number) for number in range(1, count + 1)]
            return [((one.headers or {})["Nats-Msg-Id"], one.data or b"") for one in found]

        result: list[tuple[str, bytes]] = self.do(read)
        return result


@contextmanager
def nats_server(
    folder: Path, *settings: str, port: int = 0, scheme: str = "nats", **options: Any
) -> Iterator[NatsServer]:
    """Run a server until the block ends, with its data in `folder`.

    `settings` are lines of its configuration file.
    """
    folder.mkdir(exist_ok=True)
    port = port or free_port()
    config = folder / "nats.conf"
    store = f'jetstream {{ store_dir: "{folder}/store" }}'
    authorization = f'authorization {{ token: "{TOKEN}" }}'
    lines = (f"listen: 127.0.0.1:{port}", store, authorization, *settings)
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    log = folder / "nats.log"
    with log.open("wb") as output:
        process = subprocess.Popen([PROGRAM, "-c", config], stdout=output, stderr=output, start_new_session=True)
        try:
            until(lambda: "Server is ready" in log.read_text(), "a NATS server")
            yield NatsServer(f"{scheme}://127.0.0.1:{port}", log, options)
        finally:
            process.terminate()
            process.wait(60)
