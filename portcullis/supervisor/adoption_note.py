"""The note in a state folder that adoption (`oauth_core.store.maintenance.adoption`) is over and not repeated.

It is kept outside Redis, beside the master key: an attacker with write access to Redis can restore all old values
in Redis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.process import private_files
from oauth_core.store.connection import connect
from oauth_core.store.maintenance.adoption import adopt
from oauth_core.store.records.key_ring import KeyRingError, KeyRingStore, NotAdoptedError

if TYPE_CHECKING:
    from collections import Counter
    from pathlib import Path

    from oauth_core.settings import WebSettings

_TEXT = """\
The records of this gateway have authentication codes. Records without one are not adopted again.
"""


def path(state_dir: Path) -> Path:
    """The path of the note in a state folder."""
    return state_dir / "secrets" / "records-adopted"


def write(state_dir: Path) -> None:
    """Note it, if `state_dir` is a state folder. Raises `OSError`."""
    if path(state_dir).parent.is_dir():
        private_files.write(path(state_dir), _TEXT)


async def adopt_once(state_dir: Path, settings: WebSettings) -> Counter[str] | None:
    """Adopt the records of a state folder that has no note yet: an older version made it, or it is new.

    Answers how many records were adopted, by the family of their key; `None` if adoption was not needed. A key
    ring that does not open is left for `oauth_web` to report. Raises `StoreUnavailableError` and `OSError`.
    """
    if path(state_dir).exists():
        return None
    done = None
    redis = connect(settings)
    ring = KeyRingStore(redis, master_key=settings.master_key_bytes)
    try:
        try:
            await ring.check_adopted()
        except NotAdoptedError:
            done = await adopt(redis, ring)
    except KeyRingError:
        return None
    finally:
        await redis.aclose()
    write(state_dir)
    return done
