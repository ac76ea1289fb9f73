"""Opens DuckDB, which is an optional dependency (the extra `audit`), with bounded memory and without a network."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

MEMORY = "512MB"
THREADS = 2


def is_installed() -> bool:
    """Return whether DuckDB is installed."""
    return find_spec("duckdb") is not None


def opened(temporary: Path | None = None) -> duckdb.DuckDBPyConnection:
    """Return a database in memory, which writes what does not fit there to the folder `temporary`.

    It loads no extension from the network. Raises `ImportError` if DuckDB is not installed.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": MEMORY,
        "threads": THREADS,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "preserve_insertion_order": False,
        "temp_directory": "" if temporary is None else str(temporary),
    }
    module = import_module("duckdb")
    return quiet(module.connect(config=config))


def quiet(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Return the connection; it does not print its progress any more."""
    connection.execute("SET enable_progress_bar = false")
    return connection


def quoted(path: Path) -> str:
    """Return the path as text of a statement, where DuckDB accepts no parameter."""
    return "'" + str(path).replace("'", "''") + "'"


def fault() -> type[Exception]:
    """Return the class of DuckDB's errors."""
    return cast("type[Exception]", import_module("duckdb").Error)
