"""The WebAssembly module that counts connections, compiled from its text, and a host that runs it without Envoy.

`python -m tests.envoy.connections_module` writes `connections.wasm` again.
"""

from __future__ import annotations

import random
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wasmtime

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(str(files("portcullis.envoy_config")))
SOURCE, MODULE = FOLDER / "connections.wat", FOLDER / "connections.wasm"
CONTEXT = 2
_NOT_FOUND = 1
_VERSION = 1
_CALLED = (
    "proxy_on_vm_start",
    "proxy_on_configure",
    "proxy_on_memory_allocate",
    "proxy_on_new_connection",
    "proxy_on_delete",
)


def compiled() -> bytes:
    """The module, compiled from its text."""
    return bytes(wasmtime.wat2wasm(SOURCE.read_text(encoding="utf-8")))


class Host:
    """One instance of the module, with the functions that Envoy offers to it."""

    def __init__(self, configuration: bytes) -> None:
        """Start and configure the module.

        The key of its hash is constant, so that a test always has the same outcome.
        """
        self._randomness = random.Random(7)  # noqa: S311 - a test
        self._changed = b""
        self.shared: dict[bytes, bytes] = {}
        self.peer = b""
        self.closed = 0
        self._store = wasmtime.Store()
        module = wasmtime.Module(self._store.engine, MODULE.read_bytes())
        known: dict[str, Callable[..., int]] = {
            "proxy_get_property": lambda _path, _size, at, size: self._give(self.peer, at, size),
            "proxy_get_shared_data": self._get,
            "proxy_set_shared_data": self._set,
            "proxy_get_buffer_bytes": lambda _kind, _from, _most, at, size: self._give(configuration, at, size),
            "proxy_define_metric": lambda *_: 0,
            "proxy_increment_metric": lambda *_: 0,
            "proxy_close_stream": self._close,
            "random_get": self._random,
        }
        functions = [
            wasmtime.Func(self._store, each.type, known[str(each.name)])  # type: ignore[arg-type]
            for each in module.imports
        ]
        exports: Any = wasmtime.Instance(self._store, module, functions).exports(self._store)
        self._memory = exports["memory"].get_buffer_ptr(self._store)
        self._functions = {name: exports[name] for name in _CALLED}
        assert self._call("proxy_on_vm_start", 1, 0) == 1
        assert self._call("proxy_on_configure", 1, len(configuration)) == 1

    def opened(self, peer: str) -> bool:
        """Open a connection from this address. Return whether the module accepts it."""
        self.peer = peer.encode()
        closed = self.closed
        goes_on = bool(self._call("proxy_on_new_connection", CONTEXT) == 0)
        assert goes_on == (self.closed == closed)
        return goes_on

    def ended(self, peer: str) -> None:
        """End a connection from this address, refused or not."""
        self.peer = peer.encode()
        self._call("proxy_on_delete", CONTEXT)

    def place(self, peer: str) -> tuple[bytes, int]:
        """The index of the counter for this address. There must be no other connection."""
        self.opened(peer)
        part = self.shared[self._changed]
        (place,) = [number for number, byte in enumerate(part) if byte]
        found = (self._changed, place)
        self.ended(peer)
        assert not any(self.shared[self._changed])
        return found

    def counted(self) -> int:
        """The number of all counted connections."""
        return int.from_bytes(self.shared[b"all"], "little")

    def _call(self, name: str, *numbers: int) -> Any:
        return self._functions[name](self._store, *numbers)

    def _read(self, at: int, size: int) -> bytes:
        return bytes(self._memory[at : at + size])

    def _write(self, at: int, data: bytes) -> None:
        self._memory[at : at + len(data)] = data

    def _give(self, data: bytes, at: int, size: int) -> int:
        place = self._call("proxy_on_memory_allocate", len(data))
        self._write(place, data)
        self._write(at, place.to_bytes(4, "little"))
        self._write(size, len(data).to_bytes(4, "little"))
        return 0

    def _get(self, key: int, key_size: int, at: int, size: int, version: int) -> int:
        data = self.shared.get(self._read(key, key_size))
        if data is None:
            return _NOT_FOUND
        self._write(version, _VERSION.to_bytes(4, "little"))
        return self._give(data, at, size)

    def _set(self, key: int, key_size: int, at: int, size: int, _version: int) -> int:
        self._changed = self._read(key, key_size)
        self.shared[self._changed] = self._read(at, size)
        return 0

    def _close(self, _kind: int) -> int:
        self.closed += 1
        return 0

    def _random(self, at: int, size: int) -> int:
        self._write(at, self._randomness.randbytes(size))
        return 0


if __name__ == "__main__":
    MODULE.write_bytes(compiled())
