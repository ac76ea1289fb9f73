"""One answer to a request that a browser repeats: a double click on Allow, Cancel after Allow, a reloaded
callback.

A browser that sends a form again drops the answer to the first request. It must get that same answer, without a
second code, and the first button that was pressed counts. Another browser gets no answer, and after some seconds
no browser does.
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING

from quart import Response, copy_current_request_context

from oauth_core.crypto.credentials import hash_secret
from oauth_core.crypto.sealing import derive_key, seal, unseal
from oauth_core.errors import OAuthError
from oauth_core.store.records.repeated_answers import StoredAnswer
from oauth_web.http.errors import as_answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from oauth_web.runtime.deps import Deps

_CONTEXT = "portcullis repeated answer"
_POLL_SECONDS = 0.1
_LONGER_THAN_GITHUB_SECONDS = 5.0
_running: set[asyncio.Task[Response]] = set()


async def run_once(
    deps: Deps, secret: str, browser: str | None, handle: Callable[[], Awaitable[Response]]
) -> Response | None:
    """The answer of `handle` to the first request with `secret`, and the same answer to later ones.

    `secret` authenticates the request, and `browser` is the secret of its cookie. Returns `None` when there is no
    answer for this browser. `handle` continues when the browser disconnects, because a browser disconnects when it
    sends the form again. Raises `StoreUnavailableError` and what `handle` raises, except OAuth errors, which are
    answers.
    """
    if browser is None:
        return None
    if not await deps.answers.claim(secret, hash_secret(browser)):
        return await stored_response(deps, secret, browser)

    @copy_current_request_context
    async def work() -> Response:
        try:
            answer = await handle()
        except OAuthError as error:
            answer = await as_answer(error, issuer=deps.settings.issuer)
        except BaseException:
            await deps.answers.forget(secret)
            raise
        sealed = seal(await _written(answer), _key(secret, browser), context=_CONTEXT)
        await deps.answers.store(secret, StoredAnswer(hash_secret(browser), base64.b64encode(sealed).decode()))
        return answer

    task = asyncio.create_task(work())
    _running.add(task)
    task.add_done_callback(_running.discard)
    return await asyncio.shield(task)


async def stored_response(deps: Deps, secret: str, browser: str | None) -> Response | None:
    """Return the stored answer to an earlier request with `secret` from this browser, or `None`.

    Waits for it at most a few seconds longer than `github.timeout`.
    """
    if browser is None:
        return None
    looks = (deps.settings.github_timeout + _LONGER_THAN_GITHUB_SECONDS) / _POLL_SECONDS
    for _ in range(round(looks)):
        found = await deps.answers.find(secret)
        # The hashes are those of 256-bit secrets, so a comparison in constant time would hide nothing.
        if found is None or found.browser_hash != hash_secret(browser):
            return None
        if found.sealed_answer is not None:
            return _read(unseal(base64.b64decode(found.sealed_answer), _key(secret, browser), context=_CONTEXT))
        await asyncio.sleep(_POLL_SECONDS)
    return None


def _key(secret: str, browser: str) -> bytes:
    """The key that seals the answer. Redis has neither secret, so no reader of Redis sees a code or a cookie."""
    return derive_key(f"{secret} {browser}", purpose=_CONTEXT)


async def _written(answer: Response) -> bytes:
    body = await answer.get_data(as_text=False)
    return json.dumps(
        [answer.status_code, answer.headers.to_wsgi_list(), base64.b64encode(body).decode()]
    ).encode()


def _read(text: bytes) -> Response:
    status, headers, body = json.loads(text)
    answer = Response(base64.b64decode(body), status)
    answer.headers.clear()
    for name, value in headers:
        answer.headers.add(name, value)
    return answer
