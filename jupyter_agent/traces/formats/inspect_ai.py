"""Logs of Inspect: `.eval` (a zip, a sample in each member) and `.json` (one document). A sample is a run.

The `messages` of a sample are its conversation, its model events are the turns, with their usage: `model_usage` repeats
these in sum, for the sample and for the whole log. Model calls outside of the conversation, of a scorer for one, are
turns without a message here. What Inspect answered from its own cache cost nothing.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from ...records import Outcome, Part, RunStatus, ToolCall, ToolResult, Usage, clean
from .. import usage
from ..book import Book
from ..draft import RunDraft, TurnDraft
from ..facts import CALL_CHARS, TEXT_CHARS
from ..look import first, integer, is_list, items, number, obj, text, time, written
from ..parts import ROLES, said_by_tool
from ..source import Source, records, whole
from . import openai
from .zipped import Zipped

NAME = "inspect"
VERSION = 2
ATTACHMENTS = ("attachment://", "tc://")
_SILENT = frozenset({"span_begin", "span_end", "step", "state", "store", "sample_init", "info", "logger"})
"""Events that tell of the harness. They are counted all together."""


def matches(value: Any) -> bool:
    """Tells whether a value is a log, or its header."""
    said = obj(value)
    return (
        "eval" in said
        and isinstance(said["eval"], dict)
        and bool({"version", "status", "plan", "samples"} & said.keys())
    )


def read(source: Source, book: Book) -> None:
    """Reads a log into the book. Raises InvalidRequest for a damaged zip."""
    if source.head.startswith(b"PK"):
        with Zipped(source) as zipped:
            _read_zip(zipped, book)
        return
    for place, value in records(source, book.miss):
        log = obj(value)
        if not matches(log):
            book.miss("record that is no log of Inspect", place)
            continue
        spec = _spec(book, log, place)
        found = items(log.get("samples"))
        for index, sample in enumerate(found):
            _read_sample(book, spec, obj(sample), f"{place}, sample {index}")
        if not found:
            book.miss("log without samples", place)


def _read_zip(zipped: Zipped, book: Book) -> None:
    names = zipped.names
    header = next((name for name in ("header.json", "_journal/start.json") if name in names), None)
    log: dict[str, Any] = {}
    if header is not None:
        log = obj(whole(zipped.read(header), header, book.miss))
    else:
        book.miss("log without a header", "zip")
    spec = _spec(book, log, header or "zip")
    if header == "_journal/start.json":
        book.miss("log that was never finished", header)
    for name in names:
        is_one = name.endswith(".json") and name.count("/") == 1
        if not name.startswith("samples/") or not (is_one or name.endswith("/sample.json")):
            continue
        try:
            sample = zipped.value(name, book.miss) if is_one else _gathered(zipped, book, name)
        except ValueError:
            book.miss("sample that is no JSON", name)
            continue
        _read_sample(book, spec, obj(sample), name)


def _gathered(zipped: Zipped, book: Book, shell: str) -> dict[str, Any]:
    """Returns a sample that is kept in chunks, put together: its shell and the sequences beside it.

    Raises ValueError where one of them is no JSON.
    """
    folder = shell.removesuffix("sample.json")
    sample = obj(zipped.value(shell, book.miss))
    for sequence in ("messages", "events", "attachments"):
        chunks = [name for name in zipped.names if name.startswith(f"{folder}{sequence}/")]
        stems = {name: integer(name.split("/")[-1].split(".")[0]) for name in chunks}
        numbered = sorted((stem, name) for name, stem in stems.items() if stem is not None)
        found = [item for _, name in numbered for item in items(zipped.value(name, book.miss))]
        if sequence == "attachments":
            sample["attachments"] = {str(index): item for index, item in enumerate(found)} or sample.get("attachments")
        elif sequence == "messages" and found:
            # The pool; the sample's own messages are named by their ranges in it where they are not whole.
            sample["messages"] = _ranged(sample, found)
            sample["events_data"] = {"messages": found}
        elif found:
            sample["events"] = found
    return sample


def _ranged(sample: dict[str, Any], pool: list[Any]) -> Sequence[Any]:
    own = items(sample.get("messages"))
    if own:
        return own
    ranges = items(first(sample.get("messages_refs"), sample.get("message_refs")))
    pairs = [
        pair for pair in ranges if isinstance(pair, list) and len(pair) == 2 and all(isinstance(n, int) for n in pair)
    ]
    # A conversation has no more messages than there are: ranges that name them again and again would fill the memory.
    named = (message for start, end in pairs for message in pool[start:end])
    return list(islice(named, len(pool))) if pairs else pool


def _spec(book: Book, log: dict[str, Any], place: str) -> dict[str, Any]:
    version = log.get("version")
    if isinstance(version, int) and version > VERSION:
        book.miss(f"version {version} of Inspect's logs, not known here: read as {VERSION}", place)
    spec = obj(log.get("eval"))
    spec["version"] = text(version)
    return spec


def _read_sample(book: Book, spec: dict[str, Any], sample: dict[str, Any], place: str) -> None:
    if not sample:
        book.miss("sample that is no object", place)
        return
    task, epoch = text(spec.get("task")) or "", text(sample.get("epoch")) or "1"
    named = f"{text(sample.get('id'))}/{epoch}"
    run = book.run(text(sample.get("uuid")) or named, place, thread=f"{text(spec.get('eval_id')) or task}/{named}")
    run.agent, run.model, run.version = task or None, text(spec.get("model")), text(spec.get("version"))
    run.seen(time(sample.get("started_at")))
    run.seen(time(sample.get("completed_at")))
    _end(run, sample)
    _SampleReader(run, sample, place).read()
    run.finish()


def _end(run: RunDraft, sample: dict[str, Any]) -> None:
    if fault := sample.get("error"):
        run.status, run.error_code = RunStatus.ERROR, "error"
        run.error_message = text(obj(fault).get("message")) or text(fault)
    elif limit := text(obj(sample.get("limit")).get("type")):
        run.status, run.error_code = RunStatus.INTERRUPTED, f"limit_{limit}"


class _SampleReader:
    """One sample: its events first, which tell of turns and executions, then the conversation."""

    def __init__(self, run: RunDraft, sample: dict[str, Any], place: str) -> None:
        self.run = run
        self.sample = sample
        self.place = place
        transcript = obj(sample.get("transcript"))
        held = {**obj(transcript.get("content")), **obj(sample.get("attachments"))}
        # Cut before they are put in their places, which are many: no more of a text is kept anyway.
        self.attachments = {
            name: clean(item[: TEXT_CHARS + 1]) if isinstance(item, str) else item for name, item in held.items()
        }
        self._events = items(first(sample.get("events"), transcript.get("events")))
        self.by_message: dict[str, TurnDraft] = {}
        self.nameless: list[TurnDraft] = []
        self.by_event: dict[int, TurnDraft] = {}

    def read(self) -> None:
        for index, event in enumerate(_flat(self._events)):
            if event.get("event") == "model":
                self.by_event[index] = self._model(event, f"{self.place}, event {index}")
        self._messages()
        turn: TurnDraft | None = None
        for index, event in enumerate(_flat(self._events)):
            turn = self.by_event.get(index, turn)
            kind, where = text(event.get("event")) or "without a type", f"{self.place}, event {index}"
            if kind == "tool":
                self._tool(event, turn, where)
            elif kind == "error":
                self.run.error_message = self.run.error_message or text(obj(event.get("error")).get("message"))
                self.run.book.miss("event: error", where)
            elif kind != "model":
                self.run.book.miss("event of the harness" if kind in _SILENT else f"event: {kind}", where)
        for _ in items(self.sample.get("error_retries")):
            self.run.book.miss("attempt of a sample that was tried again", self.place)
        self._state()

    def _model(self, event: dict[str, Any], where: str) -> TurnDraft:
        output = obj(event.get("output"))
        at = time(event.get("timestamp"))
        turn = self.run.turn(where, model=first(text(output.get("model")), text(event.get("model"))), at=at)
        turn.finished_at = time(event.get("completed"))
        turn.foreign_id = text(event.get("uuid"))
        choice = obj(next(iter(items(output.get("choices"))), None))
        turn.stop_reason = text(choice.get("stop_reason"))
        turn.usage = usage.read(output.get("usage"))
        if event.get("cache") == "read":
            turn.usage = Usage(requests=1)
        if fault := text(first(event.get("error"), output.get("error"))):
            turn.fail(fault)
        message_id = text(obj(choice.get("message")).get("id"))
        if message_id and message_id not in self.by_message:
            self.by_message[message_id] = turn
        elif choice and not message_id:
            self.nameless.append(turn)
        return turn

    def _messages(self) -> None:
        nameless = iter(self.nameless)
        told: set[int] = set()
        for index, item in enumerate(items(self.sample.get("messages"))):
            said, where = self._resolved(obj(item)), f"{self.place}, message {index}"
            role = ROLES.get(str(said.get("role")))
            if role is None:
                self.run.book.miss(f"message of role {text(said.get('role')) or 'unknown'}", where)
                continue
            parts = self._parts(said, role, where)
            turn = self._turn_of(said, where, nameless) if role == "assistant" else None
            if turn is not None:
                told.add(turn.number)
            self.run.message(role, parts, where, turn=turn, foreign_id=text(said.get("id")))
        for turn in self.run.turns:
            if turn.number not in told and turn.error is None:
                self.run.book.miss("model call outside of the conversation", turn.place)

    def _turn_of(self, said: dict[str, Any], where: str, nameless: Iterator[TurnDraft]) -> TurnDraft | None:
        if turn := self.by_message.pop(text(said.get("id")) or "", None):
            return turn
        if said.get("source") == "input":
            return None  # a model's words that the sample began with
        if turn := next(nameless, None):
            return turn
        if self.by_event:
            self.run.book.miss("answer without its model call", where)
        return self.run.turn(where, model=text(said.get("model")))

    def _parts(self, said: dict[str, Any], role: str, where: str) -> list[Part]:
        if role != "tool":
            return openai.spoken(said, self.run, where)
        fault = first(obj(said.get("error")) or None, text(said.get("tool_error")))
        content, images = said_by_tool(said.get("content"), self.run.book.missing(where))
        message = text(obj(fault).get("message")) or text(fault)
        return [
            ToolResult(
                tool_call_id=text(said.get("tool_call_id")) or "",
                name=text(said.get("function")) or "",
                content=content or message or "",
                is_error=fault is not None,
                images=tuple(images),
            )
        ]

    def _tool(self, event: dict[str, Any], turn: TurnDraft | None, where: str) -> None:
        asked = ToolCall(
            tool_call_id=text(event.get("id")) or "",
            name=text(event.get("function")) or "",
            arguments=written(self._resolved(event.get("arguments"))),
        )
        call = self.run.executed(asked, where, at=time(event.get("timestamp")), turn=turn)
        call.started_at, call.finished_at = time(event.get("timestamp")), time(event.get("completed"))
        seconds = number(event.get("working_time"))
        call.latency_ms = None if seconds is None else seconds * 1_000
        fault = obj(event.get("error"))
        if event.get("pending"):
            return
        outcome = Outcome.SUCCESS
        if fault or event.get("failed"):
            kinds = {"timeout": Outcome.TIMED_OUT, "approval": Outcome.REJECTED, "cancelled": Outcome.INTERRUPTED}
            outcome = kinds.get(str(fault.get("type")), Outcome.ERROR)
        content, _ = said_by_tool(self._resolved(event.get("result")), lambda _: None)
        message = text(fault.get("message"))
        if outcome is not Outcome.SUCCESS:
            # The message says that it failed, the event how.
            call.outcome = None
        call.end(self.run.book.cut(content or message or "", CALL_CHARS), outcome, error=message)

    def _state(self) -> None:
        for item in obj(self.sample.get("model_usage")).values():
            if (counted := usage.read(item)) is not None:
                self.run.stated.add(counted, f"{self.place}, model_usage")

    def _resolved(self, value: Any) -> Any:
        """Returns a value with its attachments in their places."""
        if isinstance(value, str):
            for protocol in ATTACHMENTS:
                if value.startswith(protocol):
                    return self.attachments.get(value.removeprefix(protocol), value)
            return value
        if isinstance(value, dict):
            return {key: self._resolved(item) for key, item in value.items()}
        if is_list(value):
            return [self._resolved(item) for item in value]
        return value


def _flat(events: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Yields events in order, with those that older logs keep inside of tools and subtasks."""
    waiting = [iter(events)]
    while waiting:
        event = next(waiting[-1], waiting)
        if event is waiting:
            waiting.pop()
            continue
        said = obj(event)
        yield said
        if inner := items(said.get("events")):
            waiting.append(iter(inner))
