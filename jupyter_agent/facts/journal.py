"""The kinds of facts that stand in journals: events, and the messages that they make up. What their columns say."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from msgspec.structs import replace

from .. import events as ev
from ..records import Image, Message, Text, Thinking, ToolCall, ToolResult
from ..transcript import Transcript
from .columns import Column, Type, batch, said
from .messages import messages_of
from .query import Wanted, chosen, without_tool

ROLES: Final = ("system", "user", "assistant", "tool")
"""Who can say a message."""


def _text(message: Message) -> str:
    """What a message says, its tools' results included."""
    said = (part.content if isinstance(part, ToolResult) else part.text
            for part in message.parts if isinstance(part, Text | ToolResult))  # fmt: skip
    return "\n".join(said)


MESSAGES: Final = (
    said("role", Type.NAME, ROLES),
    said("message_id", Type.TEXT),
    Column("text", Type.TEXT, _text),
    Column("thinking", Type.TEXT, lambda message: "".join(p.text for p in message.parts if isinstance(p, Thinking))),
    Column("tool_calls", Type.INT, lambda message: sum(isinstance(part, ToolCall) for part in message.parts)),
    Column("tool_results", Type.INT, lambda message: sum(isinstance(part, ToolResult) for part in message.parts)),
    Column("images", Type.INT, lambda message: sum(isinstance(part, Image) for part in message.parts)),
)


def _type(event: Any) -> str:
    return event.type if isinstance(event, ev.Unknown) else str(type(event).__struct_config__.tag)


def _kind(event: Any) -> str | None:
    return str(type(event.event).__struct_config__.tag) if isinstance(event, ev.AgentEvent) else None


def _tool_call_id(event: Any) -> str | None:
    source = event.event if isinstance(event, ev.AgentEvent) else event
    return getattr(source, "tool_call_id", None)


def _content(event: Any) -> str | None:
    """The text that streamed: of the answer, the thinking, a tool's output or its result."""
    source = event.event if isinstance(event, ev.AgentEvent) else event
    return getattr(source, "content", None) or getattr(source, "result", None)


def _seq(event: Any) -> int | None:
    place = ev.parse_cursor(event.id)
    return place.seq if place else None


def _epoch(event: Any) -> int | None:
    place = ev.parse_cursor(event.id)
    return place.epoch if place else None


EVENTS: Final = (
    Column("seq", Type.INT, _seq),
    Column("epoch", Type.INT, _epoch),
    said("id", Type.TEXT),
    Column("at", Type.TIME, lambda event: getattr(event, "at", None)),
    Column("type", Type.NAME, _type),
    Column("kind", Type.NAME, _kind),
    Column("tool_call_id", Type.TEXT, _tool_call_id),
    Column("content", Type.TEXT, _content),
)

KINDS: Final = {"events": EVENTS, "messages": MESSAGES}
ROWS: Final = 16_384
BYTES: Final = 8 * 1024 * 1024
"""What is told at once, about: more is not held in memory."""


class Telling:
    """Makes rows of the lines of runs, one run after the other, and hands them out in batches of bounded size."""

    def __init__(self, wanted: Wanted) -> None:
        """Raises InvalidRequest for a column that the kind does not have, and a filter that means nothing to it."""
        if wanted.tool is not None:
            raise without_tool(wanted.kind)
        usual = (Column("run_id", Type.TEXT, self._of_run), *KINDS[wanted.kind])
        self._columns = chosen(wanted.kind, wanted.columns, {column.name: column for column in usual}, usual)
        self._tells_events = wanted.kind == "events"
        self._run_id = ""
        self._transcript = Transcript()
        self._pieces = [batch(self._columns, ())]

    def _of_run(self, _: Any) -> str:
        return self._run_id

    def begin(self, run_id: str) -> None:
        """Takes another run up."""
        self._run_id, self._transcript = run_id, Transcript(run_id=run_id)

    def take(self, lines: Iterable[bytes]) -> None:
        """Takes the next lines of the run in. Blocking: it takes a while."""
        events = map(ev.decode_line, lines)
        if self._tells_events:
            self._add(list(events))
        else:
            for event in events:
                self._transcript.apply(event)

    def end(self) -> None:
        """Has the whole of the run."""
        if not self._tells_events:
            self._add(messages_of(self._transcript))

    def _add(self, rows: Sequence[Any]) -> None:
        self._pieces.append(batch(self._columns, rows))

    @property
    def is_full(self) -> bool:
        """Whether there is as much as is told at once."""
        rows: int = sum(piece.num_rows for piece in self._pieces)
        size: int = sum(piece.nbytes for piece in self._pieces)
        return rows >= ROWS or size >= BYTES

    def taken(self) -> Any:
        """Returns what there is as one `pyarrow.RecordBatch`, and goes on without it."""
        import pyarrow as pa

        pieces, self._pieces = self._pieces, [batch(self._columns, ())]
        whole = pa.Table.from_batches(pieces).combine_chunks()
        return whole.to_batches()[0] if whole.num_rows else pieces[0]


def runs_of(wanted: Wanted) -> Wanted:
    """Returns what asks for the ids of the runs whose journals are wanted."""
    return replace(wanted, kind="runs", columns=("run_id",), tool=None)
