"""A stand-in on loopback for the HTTP APIs of models, which makes an agent call one tool.

It understands the four APIs that the agents of the tests use: Anthropic's messages, OpenAI's responses and chat
completions, and Gemini's content. It answers the first request with a call of the wanted tool, and the request
that has the result of the tool with a text.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.support.http_servers import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

Events = list[tuple[str | None, dict[str, Any]]]
"""The events of an event stream: the name, if the API has one, and the data."""

_CALL = "call_1"
_DONE = "Done."


class Model:
    """The stand-in: the names of the tools that it was offered, and the results of the tool that it called."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []
        self.offered: set[str] = set()
        self.results: list[str] = []
        self._wanted = ""
        self._lock = threading.Lock()

    def want(self, tool: str) -> None:
        """Call the tool whose name ends with `tool`, and forget earlier results."""
        with self._lock:
            self._wanted = tool
            self.results.clear()

    def answer(self, path: str, body: dict[str, Any]) -> Events:
        """The answer to one request."""
        with self._lock:
            self.asked.append(path)
            for suffix, api in _APIS.items():
                if path.endswith(suffix):
                    names, results = api[0](body)
                    break
            else:
                return [(None, {"object": "list", "data": [], "input_tokens": 1})]
            self.offered.update(names)
            wanted = [name for name in names if name.endswith(self._wanted)]
            if results:
                self.results.append(results[-1])
            return api[1](wanted[0] if wanted and not results else None)


def _text_of(content: object) -> str:
    """The text of a content, which is a string or a list of parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else json.dumps(content)


def _read_messages(body: dict[str, Any]) -> tuple[list[str], list[str]]:
    parts = [p for m in body["messages"] if isinstance(m["content"], list) for p in m["content"]]
    results = [_text_of(part["content"]) for part in parts if part["type"] == "tool_result"]
    return [tool["name"] for tool in body.get("tools", [])], results


def _write_messages(tool: str | None) -> Events:
    start: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "stand-in",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    if tool is not None:
        block: dict[str, Any] = {"type": "tool_use", "id": _CALL, "name": tool, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": "{}"}
    else:
        block = {"type": "text", "text": ""}
        delta = {"type": "text_delta", "text": _DONE}
    reason = "tool_use" if tool is not None else "end_turn"
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": None},
            "usage": {"output_tokens": 1},
        },
        {"type": "message_stop"},
    ]
    return [(event["type"], event) for event in events]


def _read_responses(body: dict[str, Any]) -> tuple[list[str], list[str]]:
    items = [item for item in body["input"] if isinstance(item, dict)]
    results = [_text_of(item["output"]) for item in items if item.get("type") == "function_call_output"]
    names = []
    for tool in body.get("tools", []):
        inner = tool.get("tools")
        names += [f"{tool['name']}.{t['name']}" for t in inner] if inner else [tool.get("name", tool["type"])]
    return names, results


def _write_responses(tool: str | None) -> Events:
    if tool is not None:
        space, _, name = tool.rpartition(".")
        item: dict[str, Any] = {
            "type": "function_call",
            "id": "fc_1",
            "call_id": _CALL,
            "name": name,
            "arguments": "{}",
        }
        if space:
            item["namespace"] = space
    else:
        part = {"type": "output_text", "text": _DONE, "annotations": []}
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
    usage = {
        "input_tokens": 1,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 1,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 2,
    }
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {"id": "resp_1"}},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": {"id": "resp_1", "output": [item], "usage": usage}},
    ]
    return [(event["type"], event) for event in events]


def _read_completions(body: dict[str, Any]) -> tuple[list[str], list[str]]:
    results = [_text_of(message["content"]) for message in body["messages"] if message["role"] == "tool"]
    return [tool["function"]["name"] for tool in body.get("tools", [])], results


def _write_completions(tool: str | None) -> Events:
    if tool is not None:
        function = {"name": tool, "arguments": "{}"}
        delta: dict[str, Any] = {
            "role": "assistant",
            "tool_calls": [{"index": 0, "id": _CALL, "type": "function", "function": function}],
        }
    else:
        delta = {"role": "assistant", "content": _DONE}
    chunk = {"id": "chat_1", "object": "chat.completion.chunk", "created": 1, "model": "stand-in"}
    reason = "tool_calls" if tool is not None else "stop"
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return [
        (None, {**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}),
        (None, {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}], "usage": usage}),
    ]


def _read_content(body: dict[str, Any]) -> tuple[list[str], list[str]]:
    declared = [f for tool in body.get("tools", []) for f in tool.get("functionDeclarations", [])]
    parts = [part for content in body["contents"] for part in content.get("parts", [])]
    results = [json.dumps(p["functionResponse"]["response"]) for p in parts if "functionResponse" in p]
    return [function["name"] for function in declared], results


def _write_content(tool: str | None) -> Events:
    part = {"functionCall": {"name": tool, "args": {}}} if tool is not None else {"text": _DONE}
    candidate = {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
    return [(None, {"candidates": [candidate], "usageMetadata": usage})]


_APIS = {
    "/v1/messages": (_read_messages, _write_messages),
    "/responses": (_read_responses, _write_responses),
    "/chat/completions": (_read_completions, _write_completions),
    ":streamGenerateContent": (_read_content, _write_content),
    ":generateContent": (_read_content, _write_content),
}


@contextmanager
def running_model() -> Iterator[Model]:
    """A model on a free port of loopback."""
    model = Model()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            body = json.loads(self.rfile.read(length) or b"{}")
            path = urlsplit(self.path).path
            events = model.answer(path, body)
            streamed = body.get("stream") or path.endswith(":streamGenerateContent")
            if not streamed:
                self._send("application/json", json.dumps(events[0][1]).encode())
                return
            text = "".join(
                f"{f'event: {name}{chr(10)}' if name else ''}data: {json.dumps(data)}\n\n" for name, data in events
            )
            if path.endswith("/chat/completions"):
                text += "data: [DONE]\n\n"
            self._send("text/event-stream", text.encode())

        def do_GET(self) -> None:
            model.asked.append(self.path)
            self._send("application/json", b'{"object": "list", "data": [], "models": []}')

        def _send(self, kind: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    with serving(server):
        model.url = f"http://127.0.0.1:{server.server_port}"
        yield model
