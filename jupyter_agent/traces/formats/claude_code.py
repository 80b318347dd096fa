"""Session files of Claude Code: JSON lines below `~/.claude/projects`, and what `--output-format stream-json` prints.

An answer is written as several lines of one `message.id`, each with the usage again: the line with most output tokens
counts (the last of equals), the others only bring their blocks. A line that is there twice, as resumed sessions write
it, counts once. Sidechains are runs of their own below the session's. What Claude Code itself puts in the model's mouth
(`<synthetic>`) is a message and no turn, unless it tells of a failed call.
"""

from dataclasses import dataclass, field
from typing import Any

from ...records import Part, RunStatus, Text, Thinking, ToolCall, ToolResult, Usage
from .. import usage
from ..book import Book
from ..draft import RunDraft, TurnDraft
from ..look import first, is_list, items, number, obj, text, time
from ..parts import parts_of
from ..source import Source, records

NAME = "claude-code"
SYNTHETIC = "<synthetic>"
_LINES = {"user", "assistant", "system", "summary", "result", "progress", "attachment"}


def matches(value: Any) -> bool:
    """Tells whether a value is a line of a session."""
    said = obj(value)
    kind = said.get("type")
    if kind in {"user", "assistant"}:
        return "role" in obj(said.get("message")) or bool({"uuid", "sessionId", "session_id"} & said.keys())
    if kind == "summary":
        return "leafUuid" in said
    return (
        isinstance(kind, str)
        and bool({"sessionId", "session_id"} & said.keys() or {"messageId", "snapshot"} <= said.keys())
        and "role" not in said
    )


@dataclass(slots=True)
class Answer:
    """One answer of the model while its lines come in: its message, its turn and the blocks that are there."""

    index: int
    turn: TurnDraft | None
    usage: Usage | None = None
    blocks: set[tuple[str, str]] = field(default_factory=set)


@dataclass(slots=True)
class Session:
    """A run and the answers in it, by their ids."""

    run: RunDraft
    answers: dict[str, Answer] = field(default_factory=dict)


class _Reader:
    def __init__(self, book: Book) -> None:
        self.book = book
        self.sessions: dict[tuple[str, str], Session] = {}
        self.chains: dict[str, str] = {}
        """Of a line of a sidechain without a name: the line that it began with."""
        self.seen: set[str] = set()

    def take(self, place: str, value: Any) -> None:
        line = obj(value)
        kind = text(line.get("type")) or "without a type"
        if (uuid := text(line.get("uuid"))) is not None:
            if uuid in self.seen:
                self.book.miss("line that repeats an earlier one", place)
                return
            self.seen.add(uuid)
        message = obj(line.get("message"))
        if kind == "assistant" and message:
            self._answer(self._session(line, place), line, message, place)
        elif kind == "user" and message:
            self._said(self._session(line, place), line, message, place)
        elif kind == "result":
            self._result(self._session(line, place), line, place)
        else:
            subtype = text(line.get("subtype"))
            self.book.miss(f"line: {kind}{f' {subtype}' if subtype else ''}", place)
            self._told(line)

    def finish(self) -> None:
        runs = [session.run for session in self.sessions.values()]
        # The file of a sidechain alone has nothing of the session that it belongs to.
        missing = {run.run_id for run in runs if run.is_empty and run.stated.cost is None}
        for run in runs:
            if run.run_id not in missing:
                run.parent_run_id = None if run.parent_run_id in missing else run.parent_run_id
                run.finish()

    # --- which run ----------------------------------------------------------------------------------------------

    def _session(self, line: dict[str, Any], place: str) -> Session:
        session_id = text(first(line.get("sessionId"), line.get("session_id"))) or ""
        main = self._of(session_id, "", place, None)
        run = main.run
        run.version = run.version or text(line.get("version"))
        chain = self._chain(line)
        return self._of(session_id, chain, place, main.run) if chain else main

    def _chain(self, line: dict[str, Any]) -> str:
        """Returns what tells the sidechain of a line from others; nothing for the session itself."""
        if parent_call := text(line.get("parent_tool_use_id")):
            return parent_call
        if not line.get("isSidechain"):
            return ""
        if agent := text(line.get("agentId")):
            return agent
        uuid, parent = text(line.get("uuid")) or "", text(line.get("parentUuid")) or ""
        chain = self.chains.get(parent, uuid or "sidechain")
        self.chains[uuid] = chain
        return chain

    def _of(self, session_id: str, chain: str, place: str, parent: RunDraft | None) -> Session:
        session = self.sessions.get((session_id, chain))
        if session is None:
            run = self.book.run(chain or session_id or None, place, thread=session_id or None, parent=parent)
            run.agent = "sidechain" if chain else "claude-code"
            session = self.sessions[session_id, chain] = Session(run)
        return session

    def _told(self, line: dict[str, Any]) -> None:
        """Keeps the chain of sidechains whole over lines that are no messages."""
        if line.get("isSidechain"):
            self._chain(line)

    # --- what is said -------------------------------------------------------------------------------------------

    def _answer(self, session: Session, line: dict[str, Any], message: dict[str, Any], place: str) -> None:
        run, at = session.run, time(line.get("timestamp"))
        key = text(message.get("id")) or text(line.get("requestId")) or ""
        answer = session.answers.get(key) if key else None
        parts = parts_of(message.get("content"), self.book.missing(place))
        if answer is None:
            answer = Answer(len(run.messages), self._turn(run, line, message, place))
            if answer.turn:
                answer.turn.foreign_id = text(message.get("id"))
            run.message("assistant", [], place, turn=answer.turn, at=at, foreign_id=text(message.get("id")))
            if key:
                session.answers[key] = answer
        self._extend(run, answer, parts, place)
        if answer.turn is not None:
            self._count(answer, line, message)
            answer.turn.finished_at = at or answer.turn.finished_at

    def _extend(self, run: RunDraft, answer: Answer, parts: list[Part], place: str) -> None:
        """Adds the blocks that are not there yet: some lines repeat the earlier ones of their answer."""
        fresh = []
        for part in parts:
            block = _block(part)
            if block not in answer.blocks:
                answer.blocks.add(block)
                fresh.append(part)
        if not fresh:
            return
        if answer.turn is not None:
            run.extend(answer.index, fresh, place, turn=answer.turn)
            for call in run.calls[-len(fresh) :]:
                call.started_at = call.started_at or answer.turn.finished_at
        else:
            # Synthetic: there is no turn that calls of it could belong to, and it makes none.
            turn = run.turns[-1] if run.turns else TurnDraft(0, place)
            run.extend(answer.index, fresh, place, turn=turn)

    def _turn(self, run: RunDraft, line: dict[str, Any], message: dict[str, Any], place: str) -> TurnDraft | None:
        model = text(message.get("model"))
        is_fault = bool(line.get("isApiErrorMessage"))
        if model == SYNTHETIC and not is_fault:
            return None
        turn = run.turn(place, model=None if model == SYNTHETIC else model, at=time(line.get("timestamp")))
        if is_fault:
            said = [part.text for part in parts_of(message.get("content"), lambda _: None) if isinstance(part, Text)]
            turn.fail("\n".join(said))
            turn.usage = Usage(requests=1)
        elif run.model is None:
            run.model = model
        return turn

    def _count(self, answer: Answer, line: dict[str, Any], message: dict[str, Any]) -> None:
        turn = answer.turn
        if turn is None or turn.error is not None:
            return
        counted = usage.read(message.get("usage"))
        if counted is not None and (answer.usage is None or counted.output_tokens >= answer.usage.output_tokens):
            answer.usage = turn.usage = counted
            turn.model = text(message.get("model")) or turn.model
        turn.stop_reason = text(message.get("stop_reason")) or turn.stop_reason
        turn.cost = first(number(line.get("costUSD")), turn.cost)

    def _said(self, session: Session, line: dict[str, Any], message: dict[str, Any], place: str) -> None:
        parts = parts_of(message.get("content"), self.book.missing(place))
        is_tool = any(isinstance(part, ToolResult) for part in parts)
        session.run.message(
            "tool" if is_tool else "user", parts, place, at=time(line.get("timestamp")),
            foreign_id=text(line.get("uuid")),
        )  # fmt: skip

    def _result(self, session: Session, line: dict[str, Any], place: str) -> None:
        """Takes the last line of `stream-json`: sums of what the answers told before."""
        run = session.run
        run.stated.place = place
        run.stated.cost = first(number(line.get("total_cost_usd")), number(line.get("cost_usd")))
        if line.get("is_error") or text(line.get("subtype")) not in {"success", None}:
            run.status, run.error_code = RunStatus.ERROR, text(line.get("subtype"))
            run.error_message = text(line.get("result"))


def _block(part: Part) -> tuple[str, str]:
    match part:
        case ToolCall(tool_call_id=found) if found:
            return "call", found
        case Text(text=said):
            return "text", said
        case Thinking(text=said):
            return "thinking", said
        case _:
            return type(part).__name__, repr(part)


def read(source: Source, book: Book) -> None:
    """Reads the lines of one or more sessions into the book."""
    reader = _Reader(book)
    for place, value in records(source, book.miss):
        for item in items(value) if is_list(value) else [value]:
            reader.take(place, item)
    reader.finish()
