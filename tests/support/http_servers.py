"""HTTP servers of tests: an idle one takes no processor time, and each ends at once."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from socketserver import TCPServer


@contextmanager
def serving(server: TCPServer) -> Iterator[None]:
    """Answer the connections to `server` in a thread until the block ends; then close it.

    `serve_forever` checks many times a second whether it must end. A dozen servers that run for the whole test
    run would take more time than the tests that use them.
    """
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=_answer, args=(server, theirs), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ours.close()
        thread.join(timeout=60)
        theirs.close()
        server.server_close()


def _answer(server: TCPServer, end: socket.socket) -> None:
    server.timeout = 1.0  # for `handle_request`, if a caller disconnects before it sends
    with selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        selector.register(end, selectors.EVENT_READ)
        while True:
            if any(key.fileobj is end for key, _ in selector.select()):
                return
            server.handle_request()
