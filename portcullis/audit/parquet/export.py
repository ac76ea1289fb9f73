"""Writes events into one Parquet file for another program: a row for each, by time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from oauth_core.process import private_files
from portcullis.audit.parquet import database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from portcullis.audit.reading import StoredEvent


def write(events: Iterable[StoredEvent], covers: Callable[[StoredEvent], bool], output: Path) -> int:
    """Write the events to the file `output`, for its owner only, and return their number.

    `covers` says whether an event is sealed, for the column `sealed`. Raises `OSError` and DuckDB's errors; the
    file that was there stays then.
    """
    count = 0
    with TemporaryDirectory(dir=output.parent, prefix=".exporting-") as name:
        making = Path(name)
        lines, result = making / "lines", making / "result"
        with lines.open("w", encoding="ascii") as file:
            for event in events:
                place = (event.node, event.writer, event.boot, event.sequence, event.frame, event.digest.hex())
                # Written anew in ASCII, so that no character can be read as the end of a column or line.
                columns = (*place, str(covers(event)).lower(), json.dumps(event.fields, separators=(",", ":")))
                file.write("\t".join(map(str, columns)) + "\n")
                count += 1
        with database.opened(making) as connection:
            connection.execute(
                f"COPY ({_ROWS}) TO {database.quoted(result)} (FORMAT parquet, COMPRESSION zstd)", [str(lines)]
            )
        with private_files.replacing(output) as target, result.open("rb") as source:
            shutil.copyfileobj(source, target)
    return count


_ROWS = """
SELECT try_cast(line->>'$.time' AS TIMESTAMP) AS time, line->>'$.event' AS event, line->>'$.outcome' AS outcome,
    line->>'$.reason' AS reason, line->>'$.user' AS "user", line->>'$.user_id' AS user_id,
    line->>'$.operator' AS operator, line->>'$.client_id' AS client_id, line->>'$.grant_id' AS grant_id,
    line->>'$.jti' AS jti, line->>'$.service' AS service, line->>'$.mcp_method' AS mcp_method,
    line->>'$.mcp_name' AS mcp_name, line->>'$.source' AS source, line->>'$.request_id' AS request_id,
    node, writer, boot, sequence, frame, digest, sealed, line
FROM read_csv(?, delim = '\t', quote = '', escape = '', header = false, auto_detect = false,
    max_line_size = 67108864, columns = {
        'node': 'VARCHAR', 'writer': 'VARCHAR', 'boot': 'VARCHAR', 'sequence': 'BIGINT', 'frame': 'BIGINT',
        'digest': 'VARCHAR', 'sealed': 'BOOLEAN', 'line': 'VARCHAR'})
ORDER BY time NULLS FIRST, writer, boot, sequence
"""
