"""A provider on loopback that answers with exactly the bytes a test wants, and sees when its client hangs up."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Asked:
    """A request that came in."""

    path: str
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Reply:
    """What to answer. `cut_at` closes the socket after so many bytes of the body, `clean` ends it there as if it were
    whole; `hold_at` stops there until the client hangs up; `wait_s` is the pause before the headers."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/event-stream"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_at: int | None = None
    hold_at: int | None = None
    wait_s: float = 0.0
    clean: bool = False


class ProviderServer:
    """Answers each request with the next reply, the last one again and again."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.asked: list[Asked] = []
        self.came = asyncio.Event()
        self.holding = asyncio.Event()
        self.hung_up = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                self.asked.append(await _read_request(reader))
                self.came.set()
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                await self._answer(reply, reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if reply.wait_s and await self._hangs_up(reader, reply.wait_s):
            return
        headers = {"content-type": reply.content_type, "connection": "close", "transfer-encoding": "chunked"}
        lines = [f"HTTP/1.1 {reply.status} Something", *(f"{k}: {v}" for k, v in {**headers, **reply.headers}.items())]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        stop = next((at for at in (reply.cut_at, reply.hold_at) if at is not None), None)
        body = reply.body if stop is None else reply.body[:stop]
        if body:
            writer.write(f"{len(body):x}\r\n".encode() + body + b"\r\n")
        await writer.drain()
        if reply.hold_at is not None:
            self.holding.set()
            await self._hangs_up(reader, 60)
        elif reply.cut_at is None or reply.clean:
            writer.write(b"0\r\n\r\n")
            await writer.drain()

    async def _hangs_up(self, reader: asyncio.StreamReader, seconds: float) -> bool:
        """Waits for the client to close its socket; tells whether it did within the time."""
        try:
            async with asyncio.timeout(seconds):
                with suppress(ConnectionError):
                    await reader.read()
        except TimeoutError:
            return False
        self.hung_up.set()
        return True


async def _read_request(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(path=head[0].split(" ")[1], headers=headers, body=json.loads(body) if body else None)


def sse(*events: Any, done: bool = False) -> bytes:
    """Returns server-sent events; a pair is an event's name and its data."""
    lines = []
    for event in events:
        name, data = event if isinstance(event, tuple) else (None, event)
        lines.append((f"event: {name}\n" if name else "") + f"data: {json.dumps(data)}\n\n")
    return ("".join(lines) + ("data: [DONE]\n\n" if done else "")).encode()


# --- answers in the providers' own shapes -----------------------------------------------------------------------


def openai_chat(
    *, thinking: str = "", text: str = "", calls: Iterable[tuple[str, str]] = (), usage: Any = None,
    finish: str | None = None, done: bool = True,
) -> bytes:  # fmt: skip
    """Returns a chat completion as a stream; calls are (name, arguments), their arguments come in two halves."""
    calls = list(calls)
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": word} for word in thinking.split(" ") if word]
    deltas += [{"content": piece} for piece in text.splitlines(keepends=True)]
    for index, (name, arguments) in enumerate(calls):
        half = len(arguments) // 2
        start = {"index": index, "id": f"call_{index}", "type": "function"}
        deltas.append({"tool_calls": [start | {"function": {"name": name, "arguments": ""}}]})
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": part}}]}
            for part in (arguments[:half], arguments[half:])
        ]
    base = {"id": "c1", "object": "chat.completion.chunk", "created": 1700000000, "model": "test-model-1"}
    chunks = [base | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    reason = finish or ("tool_calls" if calls else "stop")
    if reason != "none":
        chunks.append(base | {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    if usage is not None:
        chunks.append(base | {"choices": [], "usage": usage})
    return sse(*chunks, done=done)


def anthropic(
    *, thinking: str = "", text: str = "", calls: Iterable[tuple[str, str]] = (), usage: Any = None,
    finish: str | None = None,
) -> bytes:  # fmt: skip
    """Returns a message as a stream of Anthropic's events; thinking is signed."""
    calls = list(calls)
    usage = usage or {"input_tokens": 10, "output_tokens": 5}
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-test-1", "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": usage | {"output_tokens": 1},
    }  # fmt: skip
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    if thinking:
        pieces = [{"type": "thinking_delta", "thinking": word + " "} for word in thinking.split(" ")]
        signature = {"type": "signature_delta", "signature": "c2lnbmVk"}
        blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, [*pieces, signature]))
    if text:
        deltas = [{"type": "text_delta", "text": piece} for piece in text.splitlines(keepends=True)]
        blocks.append(({"type": "text", "text": ""}, deltas))
    for index, (name, arguments) in enumerate(calls):
        half = len(arguments) // 2
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in (arguments[:half], arguments[half:])]
        blocks.append(({"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": {}}, deltas))
    for index, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    reason = finish or ("tool_use" if calls else "end_turn")
    delta = {"stop_reason": reason, "stop_sequence": None}
    events.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": usage["output_tokens"]}})
    events.append({"type": "message_stop"})
    return sse(*((event["type"], event) for event in events))


def google(
    *, thinking: str = "", text: str = "", calls: Iterable[tuple[str, str]] = (), usage: Any = None,
    finish: str | None = "STOP",
) -> bytes:  # fmt: skip
    """Returns a Gemini answer as a stream; the first call carries a thought signature."""
    parts: list[dict[str, Any]] = []
    if thinking:
        parts.append({"text": thinking, "thought": True})
    parts += [{"text": piece} for piece in text.splitlines(keepends=True)]
    for index, (name, arguments) in enumerate(calls):
        signed = {"thoughtSignature": "c2lnbmVk"} if index == 0 else {}
        parts.append({"functionCall": {"name": name, "args": json.loads(arguments)}, **signed})
    chunks: list[dict[str, Any]] = [
        {"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}], "modelVersion": "gemini-test-1"}
        for part in parts
    ]
    last: dict[str, Any] = {"candidates": [{"content": {"role": "model", "parts": [{"text": ""}]}, "index": 0}]}
    if finish:
        last["candidates"][0]["finishReason"] = finish
    if usage is not None:
        last["usageMetadata"] = usage
    return sse(*chunks, last)


def openai_responses(
    *, thinking: str = "", text: str = "", calls: Iterable[tuple[str, str]] = (), usage: Any = None,
    finish: str = "completed",
) -> bytes:  # fmt: skip
    """Returns an answer as the events of OpenAI's Responses API; reasoning comes as an encrypted summary."""
    response: dict[str, Any] = {
        "id": "resp_1", "object": "response", "created_at": 1700000000, "model": "test-model-1", "output": [],
        "status": "in_progress", "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
    }  # fmt: skip
    events: list[dict[str, Any]] = [{"type": "response.created", "response": response}]
    number = 0
    if thinking:
        item = {"id": "rs_1", "type": "reasoning", "summary": [], "status": "in_progress"}
        place = {"item_id": "rs_1", "output_index": number, "summary_index": 0}
        whole = item | {"summary": [{"type": "summary_text", "text": thinking}], "encrypted_content": "c2lnbmVk"}
        part = {"type": "summary_text", "text": ""}
        events += [
            {"type": "response.output_item.added", "output_index": number, "item": item},
            {"type": "response.reasoning_summary_part.added", **place, "part": part},
            {"type": "response.reasoning_summary_text.delta", **place, "delta": thinking},
            {"type": "response.output_item.done", "output_index": number, "item": whole},
        ]
        number += 1
    if text:
        item = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "status": "in_progress"}
        place = {"item_id": "msg_1", "output_index": number, "content_index": 0}
        part = {"type": "output_text", "text": "", "annotations": []}
        events.append({"type": "response.output_item.added", "output_index": number, "item": item})
        events.append({"type": "response.content_part.added", **place, "part": part})
        events += [
            {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
            for piece in text.splitlines(keepends=True)
        ]
        whole = item | {"content": [part | {"text": text}], "status": "completed"}
        events.append({"type": "response.output_item.done", "output_index": number, "item": whole})
        number += 1
    for index, (name, arguments) in enumerate(calls):
        item = {"id": f"fc_{index}", "type": "function_call", "call_id": f"call_{index}", "name": name}
        half = len(arguments) // 2
        place = {"item_id": f"fc_{index}", "output_index": number}
        added = item | {"arguments": "", "status": "in_progress"}
        events.append({"type": "response.output_item.added", "output_index": number, "item": added})
        events += [
            {"type": "response.function_call_arguments.delta", **place, "delta": part}
            for part in (arguments[:half], arguments[half:])
        ]
        whole = item | {"arguments": arguments, "status": "completed"}
        events.append({"type": "response.output_item.done", "output_index": number, "item": whole})
        number += 1
    ended = response | {"status": "incomplete" if finish == "max_output_tokens" else "completed", "usage": usage}
    if finish == "max_output_tokens":
        ended["incomplete_details"] = {"reason": finish}
    events.append({"type": f"response.{ended['status']}", "response": ended})
    return sse(*((event["type"], event | {"sequence_number": n}) for n, event in enumerate(events)))
