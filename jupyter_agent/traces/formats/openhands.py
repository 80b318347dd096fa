"""Event logs of OpenHands: lists or lines of actions and observations (V0), or of events with a `kind` (V1).

One answer of the model may ask for several calls, each in an event of its own that repeats the answer's id and usage:
it is one turn. `accumulated_cost` and its tokens grow from event to event: a turn's cost is by how much they grew since
the answer before. An observation belongs to the action that it names as its cause. Only what is called an error is one:
an exit code is not.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from ...records import Outcome, Part, RunStatus, Text, Thinking, ToolCall, ToolResult, clean
from .. import usage
from ..book import Book
from ..decoding import decode
from ..draft import CallDraft, RunDraft, TurnDraft
from ..facts import CALL_CHARS
from ..look import first, is_list, items, obj, text, time, written
from ..parts import asked, parts_of, said_by_tool
from ..source import BOM, Source, records
from .folder import Members, members
from .openhands_metrics import Meter

NAME = "openhands"
V1_KINDS = ("Event", "Observation", "Condensation", "CondensationRequest")
NO_CALLS = frozenset(
    {
        "message", "system", "recall", "change_agent_state", "null", "condensation", "condensation_request", "pause",
        "resume", "stop", "start", "loop_recovery", "agent_state_changed", "initialize",
    }
)  # fmt: skip
"""Actions that are no tool calls."""
_FILE = re.compile(r"(?P<folder>(?:.*/)?)event[-_](?P<number>\d{5,12})[-_][^/]+\.json")
"""In a kept conversation (`events/event-00000-<id>.json`), and in an exported one (`event_000000_<id>.json`)."""
_BESIDE = ("base_state.json", "meta.json")
NO_RESULTS = frozenset({"agent_state_changed", "recall", "null", "condense", "loop_detection"})


def matches(value: Any) -> bool:
    """Tells whether a value is an event, or holds a list of them."""
    if is_list(value):
        return any(matches(item) for item in value[:5])
    said = obj(value)
    return is_event(said) or any(matches(items(said.get(name))) for name in ("history", "trajectory", "events"))


def is_event(said: dict[str, Any]) -> bool:
    if str(said.get("kind", "")).endswith(V1_KINDS) and "source" in said:
        return True
    if "action" in said and isinstance(said["action"], str):
        return "args" in said or ("source" in said and "message" in said)
    return isinstance(said.get("observation"), str) and bool({"extras", "cause", "source"} & said.keys())


def holds_events(names: Iterable[str]) -> bool:
    """Tells whether conversations are kept in files of these names: an event in each."""
    return any(_FILE.fullmatch(name) for name in names)


def read(source: Source, book: Book) -> None:
    """Reads event logs into the book. Lines that are events each are one run, lines that hold a list are one each."""
    if source.is_folder or source.head.startswith(b"PK"):
        with members(source) as opened:
            _read_files(opened, book)
        return
    loose: _Reader | None = None
    for place, value in records(source, book.miss):
        said = obj(value)
        if is_event(said):
            loose = loose or _Reader(book, {}, place)
            loose.take(said, place)
        elif is_list(value) and not any(is_event(obj(item)) for item in value) and not _pairs(value):
            for index, item in enumerate(value):
                _read_whole(book, item, f"{place}, item {index}")
        else:
            _read_whole(book, value, place)
    if loose is not None:
        loose.finish()


def _read_files(opened: Members, book: Book) -> None:
    """Reads conversations of which each event is a file, and what is kept beside them: the state or the description."""
    talks: dict[str, list[tuple[int, str]]] = {}
    for name in opened.names:
        if found := _FILE.fullmatch(name):
            folder = found["folder"]
            above = folder.removesuffix("events/") if f"/{folder}".endswith("/events/") else folder
            talks.setdefault(above, []).append((int(found["number"]), name))
        elif name.rpartition("/")[2] not in _BESIDE and not name.endswith("/"):
            book.miss("file that is no event", clean(name))
    names = set(opened.names)
    for folder, events in talks.items():
        state, meta = (
            _member(opened, book, f"{folder}{name}") if f"{folder}{name}" in names else {} for name in _BESIDE
        )
        whole = {**meta, "id": first(state.get("id"), meta.get("id"))}
        reader = _Reader(book, whole, clean(folder) or "the folder")
        reader.run.model = first(
            reader.run.model, text(meta.get("llm_model")), text(obj(obj(state.get("agent")).get("llm")).get("model"))
        )
        for _, name in sorted(events):
            if event := _member(opened, book, name):
                reader.take(event, clean(name))
        if stats := obj(state.get("stats")):
            reader.meter.state(stats, clean(f"{folder}base_state.json"))
        reader.finish()


def _member(opened: Members, book: Book, name: str) -> dict[str, Any]:
    """Returns the object in a file; nothing where it holds none, which is counted."""
    place = clean(name)
    try:
        found = obj(decode(opened.read(name).removeprefix(BOM), place, book.miss))
    except ValueError:
        book.miss("file that is no JSON", place)
        return {}
    if not found:
        book.miss("file that holds no object", place)
    return found


def _pairs(value: Sequence[Any]) -> bool:
    return any(is_list(item) for item in value[:5])


def _read_whole(book: Book, value: Any, place: str) -> None:
    said = obj(value)
    events = value if is_list(value) else next(
        (found for name in ("history", "trajectory", "events") if (found := items(said.get(name)))), None
    )  # fmt: skip
    if events is None:
        book.miss("record without events", place)
        return
    reader = _Reader(book, said, place)
    for index, item in enumerate(events):
        # The oldest logs keep each action and its observation as a pair.
        for event in item if is_list(item) else [item]:
            reader.take(obj(event), f"{place}, event {index}")
    reader.finish()


class _Reader:
    """One run. `whole` is what the log says beside its events: the task, the metrics, the error."""

    def __init__(self, book: Book, whole: dict[str, Any], place: str) -> None:
        self.book = book
        found = first(text(whole.get("instance_id")), text(whole.get("conversation_id")), text(whole.get("id")))
        self.run: RunDraft = book.run(found, place)
        self.run.agent = text(obj(whole.get("metadata")).get("agent_class"))
        self.run.model = text(obj(obj(whole.get("metadata")).get("llm_config")).get("model"))
        if fault := text(whole.get("error")):
            self.run.status, self.run.error_message = RunStatus.ERROR, fault
        self.meter = Meter(self.run, obj(whole.get("metrics")), place)
        self.by_event: dict[str, CallDraft] = {}
        self.by_foreign: dict[str, CallDraft] = {}
        self.by_response: dict[str, tuple[TurnDraft, int]] = {}

    def take(self, event: dict[str, Any], place: str) -> None:
        at = time(event.get("timestamp"))
        self.run.seen(at)
        if "kind" in event:
            self._take_v1(event, str(event["kind"]), place, at)
        elif "action" in event:
            self._act(event, str(event["action"]), place, at)
        elif "observation" in event:
            self._observe(event, str(event["observation"]), place, at)
        else:
            self.book.miss("event that is neither action nor observation", place)

    def finish(self) -> None:
        self.meter.finish()
        self.run.finish()

    # --- V0 -----------------------------------------------------------------------------------------------------

    def _act(self, event: dict[str, Any], action: str, place: str, at: Any) -> None:
        args = obj(event.get("args"))
        by = event.get("source")
        metadata = obj(event.get("tool_call_metadata"))
        if action == "system":
            self._say("system", args.get("content"), event, place, at)
        elif action == "message" and by != "agent":
            self._say("user", args.get("content"), event, place, at)
        elif action == "message":
            self._answer(event, metadata, parts_of(args.get("content"), self.book.missing(place)), place, at)
        elif action in NO_CALLS or by == "user":
            self.book.miss(f"event: {action}", place)
            self.meter.heard(obj(event.get("llm_metrics")))
        else:
            thought = first(text(args.get("thought")), text(args.get("content")) if action == "finish" else None)
            parts: list[Part] = [Text(text=thought)] if thought else []
            parts.append(_asked(action, args, metadata))
            self._answer(event, metadata, parts, place, at)

    def _say(self, role: str, content: Any, event: dict[str, Any], place: str, at: Any) -> None:
        parts = parts_of(content, self.book.missing(place))
        self.run.message(role, parts, place, at=at, foreign_id=text(event.get("id")))

    def _answer(self, event: dict[str, Any], metadata: dict[str, Any], parts: list[Part], place: str, at: Any) -> None:
        """Takes an event of an answer. Several of one answer are one turn and one message."""
        response = obj(metadata.get("model_response"))
        response_id = first(text(response.get("id")), text(event.get("llm_response_id")))
        known = self.by_response.get(response_id or "")
        before = len(self.run.calls)
        if known is None:
            turn = self.run.turn(place, model=text(response.get("model")), at=at)
            turn.foreign_id = response_id
            turn.usage = usage.read(response.get("usage"))
            choice = obj(next(iter(items(response.get("choices"))), None))
            turn.stop_reason = text(choice.get("finish_reason"))
            index = len(self.run.messages)
            self.run.message("assistant", parts, place, turn=turn, at=at, foreign_id=response_id)
            if response_id:
                self.by_response[response_id] = turn, index
        else:
            turn, index = known
            self.run.extend(index, [part for part in parts if isinstance(part, ToolCall)], place, turn=turn)
        self.meter.heard(obj(event.get("llm_metrics")), turn)
        for call in self.run.calls[before:]:
            call.started_at = at
            self.by_event[str(event.get("id"))] = call

    def _observe(self, event: dict[str, Any], kind: str, place: str, at: Any) -> None:
        call = self.by_event.get(str(event.get("cause")))
        metadata = obj(event.get("tool_call_metadata"))
        if kind in NO_RESULTS and call is None:
            self.book.miss(f"event: {kind}", place)
            return
        content = first(event.get("content"), obj(event.get("extras")).get("content"), event.get("message"))
        outcome = {"error": Outcome.ERROR, "user_rejected": Outcome.REJECTED}.get(kind, Outcome.SUCCESS)
        if call is None and not metadata and outcome is Outcome.ERROR:
            # The scaffold's own error, of no call: the model reads it as a message.
            self.run.message("user", [Text(text=written(content))], place, at=at, foreign_id=text(event.get("id")))
            self.book.miss("error of no tool call", place)
            return
        named = text(metadata.get("tool_call_id")) or (call.foreign_id if call else None) or ""
        self._give(call, named, written(content), outcome, place, at, text(event.get("id")))

    def _give(
        self, call: CallDraft | None, named: str, content: str, outcome: Outcome, place: str, at: Any,
        foreign_id: str | None,
    ) -> None:  # fmt: skip
        """Puts a result to the call that it names as its cause, or else to one of its id."""
        if call is None or call.is_answered:
            result = ToolResult(tool_call_id=named or "?", name="", content=content, is_error=outcome is Outcome.ERROR)
            self.run.message("tool", [result], place, at=at, foreign_id=foreign_id)
            return
        call.is_answered = True
        call.end(content, outcome)
        call.finished_at = at
        self.run.message("tool", [Text(text=content)] if content else [], place, at=at, foreign_id=foreign_id)

    # --- V1 -----------------------------------------------------------------------------------------------------

    def _take_v1(self, event: dict[str, Any], kind: str, place: str, at: Any) -> None:
        foreign_id = text(event.get("id"))
        named = text(event.get("tool_call_id")) or ""
        call = self.by_event.get(str(event.get("action_id")))
        match kind:
            case "SystemPromptEvent":
                self._say("system", event.get("system_prompt"), event, place, at)
            case "MessageEvent":
                self._message(event, place, at)
            case "ActionEvent":
                self._action(event, place, at)
            case "ObservationEvent":
                seen = obj(event.get("observation"))
                content, _ = said_by_tool(first(seen.get("content"), seen.get("output"), seen), lambda _: None)
                if added := items(event.get("extended_content")):
                    content = "\n".join([content, said_by_tool(added, lambda _: None)[0]])
                outcome = Outcome.ERROR if seen.get("is_error") is True else Outcome.SUCCESS
                self._give(call, named, content, outcome, place, at, foreign_id)
            case "UserRejectObservation":
                reason = written(event.get("rejection_reason"))
                self._give(call, named, reason, Outcome.REJECTED, place, at, foreign_id)
            case "AgentErrorEvent":
                self._give(call, named, written(event.get("error")), Outcome.ERROR, place, at, foreign_id)
            case "ACPToolCallEvent":
                self._foreign_call(event, named, place, at)
            case "ConversationErrorEvent":
                self.run.status, self.run.error_code = RunStatus.ERROR, text(event.get("code"))
                self.run.error_message = text(event.get("detail"))
            case "ConversationStateUpdateEvent":
                self._state(event, place)
            case _:
                self.book.miss(f"event: {kind}", place)

    def _message(self, event: dict[str, Any], place: str, at: Any) -> None:
        message = obj(event.get("llm_message"))
        parts = parts_of(message.get("content"), self.book.missing(place))
        if event.get("source") == "agent" or message.get("role") == "assistant":
            thought = text(message.get("reasoning_content"))
            own: list[Part] = [Thinking(text=thought)] if thought else []
            self._answer(event, {}, [*own, *parts], place, at)
        else:
            extended = parts_of(event.get("extended_content"), self.book.missing(place))
            self.run.message("user", [*parts, *extended], place, at=at, foreign_id=text(event.get("id")))

    def _action(self, event: dict[str, Any], place: str, at: Any) -> None:
        said = obj(event.get("tool_call"))
        call = asked(said)
        own = ToolCall(
            tool_call_id=text(event.get("tool_call_id")) or call.tool_call_id,
            name=text(event.get("tool_name")) or call.name,
            arguments=call.arguments or written(event.get("action")),
        )
        thought = text(event.get("reasoning_content"))
        parts: list[Part] = [Thinking(text=thought)] if thought else []
        parts += parts_of(event.get("thought"), self.book.missing(place))
        self._answer(event, {}, [*parts, own], place, at)

    def _foreign_call(self, event: dict[str, Any], named: str, place: str, at: Any) -> None:
        """Takes what another agent, of which OpenHands hears only this, tells of a call in several events."""
        call = self.by_foreign.get(named)
        if call is None or not named:
            name = text(first(event.get("tool_kind"), event.get("title"))) or ""
            asked_for = ToolCall(tool_call_id=named, name=name, arguments=written(event.get("raw_input")))
            call = self.by_foreign[named] = self.run.call(asked_for, place, at=at)
        call.arguments = call.arguments or written(event.get("raw_input"))[:CALL_CHARS]
        status = text(event.get("status"))
        if event.get("is_error") is True or status in {"completed", "failed"}:
            failed = event.get("is_error") is True or status == "failed"
            content, _ = said_by_tool(first(event.get("raw_output"), event.get("content")), lambda _: None)
            call.is_answered = True
            call.end(content, Outcome.ERROR if failed else Outcome.SUCCESS)
            call.finished_at = at

    def _state(self, event: dict[str, Any], place: str) -> None:
        key, value = text(event.get("key")), obj(event.get("value"))
        stats = value if key == "stats" else obj(value.get("stats"))
        if stats:
            self.meter.state(stats, place)
        else:
            self.book.miss(f"event: ConversationStateUpdateEvent {key or ''}".strip(), place)


def _asked(action: str, args: dict[str, Any], metadata: dict[str, Any]) -> ToolCall:
    """Returns a V0 action as a call: as the model wrote it where its answer is kept, else as OpenHands read it."""
    tool_call_id = text(metadata.get("tool_call_id")) or ""
    name = text(metadata.get("function_name")) or action
    for choice in items(obj(metadata.get("model_response")).get("choices")):
        for item in items(obj(obj(choice).get("message")).get("tool_calls")):
            call = asked(item)
            if tool_call_id and call.tool_call_id == tool_call_id and call.name in (name, ""):
                return ToolCall(tool_call_id=tool_call_id, name=name, arguments=call.arguments)
    given = {key: value for key, value in args.items() if key != "thought"}
    return ToolCall(tool_call_id=tool_call_id, name=name, arguments=written(given))
