"""Spans of OpenTelemetry's GenAI conventions, as OTLP JSON or lines of it, by their present names and the older ones.

A trace is a run. Only leaves count: a model call's span whose child is one too, or an agent's span that repeats its
children's sums, adds nothing. Every request tells all messages before it again: a message that a conversation (an
agent's, within a trace) has already is the same one. A call that a model asks for and the span that executes it are
one call. Cached tokens are a part of the input, as the conventions say, unless they are more than it.
"""

import hashlib
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from ...records import Outcome, Part, RunStatus, Text, ToolCall, ToolResult, Usage
from ..book import Book
from ..draft import RunDraft, TurnDraft
from ..facts import CALL_CHARS
from ..look import count, first, is_list, items, number, obj, text, written
from ..parts import ROLES
from ..source import Source, records
from ..usage import Counted, settled
from . import openai
from .otel_spans import Span, after_messages, input_messages, is_span, output_messages, spans_in

NAME = "otel"
MODEL_CALLS = frozenset({"chat", "text_completion", "generate_content", "completion", "message", "embeddings"})
AGENTS = frozenset({"invoke_agent", "create_agent", "invoke_workflow", "agent", "workflow"})
TOOLS = frozenset({"execute_tool", "tool"})
KEPT = ("gen_ai.", "jupyter_agent.", "traceloop.entity.", "error.type")
TOOL_TEXTS = frozenset(
    {
        "gen_ai.tool.call.arguments", "gen_ai.tool.call.result", "traceloop.entity.input", "traceloop.entity.output",
    }
)  # fmt: skip
COSTS = ("jupyter_agent.cost", "gen_ai.usage.cost", "gen_ai.usage.total_cost", "operation.cost")


def matches(value: Any) -> bool:
    """Tells whether a value holds spans."""
    if is_list(value):
        return any(matches(item) for item in value[:5])
    said = obj(value)
    if {"resourceSpans", "resource_spans", "resourceLogs", "resource_logs"} & said.keys() or is_span(said):
        return True
    return any(is_span(obj(item)) for item in items(said.get("spans"))[:5])


@dataclass(slots=True)
class _Node:
    """A span within its trace: what kind of work it is, and what it used."""

    span: Span
    kind: str
    usage: Usage | None
    asked: list[Any]
    answered: list[Any]


class _Message(NamedTuple):
    """A message of a request: `key` is what makes it the same as another."""

    role: str
    parts: list[Part]
    key: str


@dataclass(slots=True)
class _Talk:
    """A conversation: how often each message is in it."""

    said: Counter[str] = field(default_factory=Counter)


def read(source: Source, book: Book) -> None:
    """Reads spans into the book. They come in any order, so a trace is told when the source is at its end; of each
    span only what is needed is kept until then."""
    traces: dict[str, list[_Node]] = {}
    known: set[tuple[str, str]] = set()
    pool: dict[bytes, Any] = {}
    for place, value in records(source, book.miss):
        for span in spans_in(value, place, book.miss):
            key = (span.trace_id, span.span_id)
            if key in known:
                book.miss("span that is there twice", span.place)
                continue
            known.add(key)
            node = _node(span)
            node.asked = [pool.setdefault(_digest(message), message) for message in node.asked]
            traces.setdefault(span.trace_id, []).append(node)
    for trace_id, nodes in traces.items():
        _Trace(book, trace_id, nodes).tell()


def _digest(message: Any) -> bytes:
    """Returns a digest of a message as it is written: of each only one copy is kept, however often it is told."""
    try:
        written_out = msgspec.json.encode(message, enc_hook=list)
    except (UnicodeEncodeError, TypeError, ValueError):
        written_out = repr(message).encode(errors="backslashreplace")
    return hashlib.blake2b(written_out, digest_size=16).digest()


def _node(span: Span) -> _Node:
    kind = _kind(span)
    is_call = kind == "model"
    asked, answered = (input_messages(span), output_messages(span)) if is_call else ([], [])
    node = _Node(span, kind, _usage(span), asked, answered)
    # What is long has been taken out, or is cut as it would be later; what is not looked for is not kept.
    span.events = []
    span.attributes = {
        key: value[:CALL_CHARS] if key in TOOL_TEXTS and isinstance(value, str) else value
        for key, value in span.attributes.items()
        if key.startswith(KEPT) and not _is_content(key) and (kind == "tool" or key not in TOOL_TEXTS)
    }
    return node


def _is_content(name: str) -> bool:
    return name.endswith((".messages", "system_instructions")) or name.startswith(
        ("gen_ai.prompt.", "gen_ai.completion.")
    )


def _kind(span: Span) -> str:
    said = span.attributes
    operation = text(said.get("gen_ai.operation.name")) or ""
    if operation in MODEL_CALLS:
        return "model"
    if operation in TOOLS:
        return "tool"
    if operation in AGENTS:
        return "agent"
    traced = text(said.get("traceloop.span.kind")) or ""
    if traced in {"tool", "agent", "workflow"}:
        return "tool" if traced == "tool" else "agent"
    if "gen_ai.tool.name" in said or "gen_ai.tool.call.id" in said:
        return "tool"
    if not operation and "gen_ai.agent.name" in said and "gen_ai.request.model" not in said:
        return "agent"
    if not operation and {"gen_ai.request.model", "gen_ai.response.model", "llm.request.type"} & said.keys():
        return "model"
    return "other"


def _usage(span: Span) -> Usage | None:
    said = span.attributes

    def tokens(*names: str) -> int | None:
        found: int | None = first(*(count(said.get(f"gen_ai.usage.{name}")) for name in names))
        return found

    return settled(
        Counted(
            input=first(tokens("input_tokens", "prompt_tokens"), count(said.get("llm.usage.prompt_tokens"))),
            output=first(tokens("output_tokens", "completion_tokens"), count(said.get("llm.usage.completion_tokens"))),
            cache_read=tokens(
                "cache_read.input_tokens", "cache_read_input_tokens", "input_tokens.cached",
                "details.cache_read_tokens", "details.cached_tokens",
            ),
            cache_write=tokens(
                "cache_creation.input_tokens", "cache_creation_input_tokens", "input_tokens.cache_write",
                "details.cache_write_tokens",
            ),
            reasoning=tokens(
                "reasoning.output_tokens", "reasoning_tokens", "output_tokens.reasoning", "details.reasoning_tokens"
            ),
            total=first(tokens("total_tokens"), count(said.get("llm.usage.total_tokens"))),
            cost=first(*(number(said.get(name)) for name in COSTS)),
        )
    )  # fmt: skip


class _Trace:
    """One trace, told as a run."""

    def __init__(self, book: Book, trace_id: str, nodes: list[_Node]) -> None:
        self.book = book
        self.nodes = sorted(nodes, key=lambda node: (node.span.started_at is None, node.span.started_at or 0))
        self.by_id = {node.span.span_id: node for node in nodes}
        self.talks: dict[str, _Talk] = {}
        self.decoded: dict[int, _Message | None] = {}
        """The messages of requests by what they are: those that repeat are one object here."""
        self.begun: list[tuple[datetime, TurnDraft]] = []
        said = [node.span.attributes for node in self.nodes]
        thread = next((found for item in said if (found := text(item.get("gen_ai.conversation.id")))), None)
        self.run: RunDraft = book.run(trace_id or None, self.nodes[0].span.place, thread=thread)

    def tell(self) -> None:
        above = self._above_calls()
        for node in self.nodes:
            self.run.seen(node.span.started_at)
            self.run.seen(node.span.finished_at)
            if node.kind == "model" and node.span.span_id in above:
                self.book.miss("model call's span around another one", node.span.place)
            elif node.kind == "model":
                self._call(node)
            elif node.kind == "other":
                self.book.miss(f"span: {node.span.name or 'without a name'}", node.span.place)
        # After the calls, whose messages tell of what was executed: a clock may be wrong, an id is there again.
        self.begun = [(turn.started_at, turn) for turn in self.run.turns if turn.started_at is not None]
        for node in self.nodes:
            if node.kind == "tool":
                self._execute(node)
        self._agents()
        if not self.run.is_empty or any(node.kind == "agent" for node in self.nodes):
            self.run.finish()

    # --- the tree -----------------------------------------------------------------------------------------------

    def _above_calls(self) -> set[str]:
        """Returns the spans that have a model call somewhere below them."""
        above: set[str] = set()
        for node in self.nodes:
            parent = node.span.parent_id if node.kind == "model" else ""
            while parent and parent not in above and parent in self.by_id:
                above.add(parent)
                parent = self.by_id[parent].span.parent_id
        return above

    def _agent_above(self, node: _Node) -> str:
        """Returns the span of the agent that a span works for: messages are told within it."""
        parent, steps = node.span.parent_id, 0
        while parent in self.by_id and steps < len(self.nodes):
            if self.by_id[parent].kind == "agent":
                return parent
            parent, steps = self.by_id[parent].span.parent_id, steps + 1
        return ""

    def _agents(self) -> None:
        """Takes what agents' spans tell of the run: its name, whether it failed, and sums where there are no parts."""
        for node in self.nodes:
            if node.kind != "agent":
                continue
            said = node.span.attributes
            is_outermost = not self._agent_above(node)
            self.run.agent = self.run.agent or text(
                first(said.get("gen_ai.agent.name"), said.get("traceloop.entity.name"))
            )
            if is_outermost and node.span.is_error:
                self.run.status, self.run.error_message = RunStatus.ERROR, node.span.error
                self.run.error_code = text(said.get("error.type")) or "error"
            self._own_words(node)
            if node.usage is None or not is_outermost:
                continue
            self.run.stated.add(node.usage, node.span.place)
            whole = bool(said.get("jupyter_agent.whole"))
            self.run.stated.counts = whole or not self.run.turns or any(turn.usage is None for turn in self.run.turns)

    def _own_words(self, node: _Node) -> None:
        """Takes what our own export told under names of its own."""
        said = node.span.attributes
        if (status := text(said.get("jupyter_agent.status"))) in set(RunStatus):
            self.run.status = RunStatus(status)
        for index, message in enumerate(after_messages(node.span)):
            where = f"{node.span.place}, message {index} after"
            role = ROLES.get(str(obj(message).get("role"))) or "user"
            self.run.message(role, self._parts(obj(message), where), where)

    # --- model calls --------------------------------------------------------------------------------------------

    def _call(self, node: _Node) -> None:
        span, said = node.span, node.span.attributes
        talk = self.talks.setdefault(self._agent_above(node), _Talk())
        self._asked(talk, node)
        model = text(first(said.get("gen_ai.response.model"), said.get("gen_ai.request.model")))
        turn = self.run.turn(span.place, model=model, at=span.started_at)
        turn.finished_at, turn.foreign_id = span.finished_at, span.span_id or None
        turn.usage = node.usage
        reasons = said.get("gen_ai.response.finish_reasons")
        turn.stop_reason = text(reasons[0]) if is_list(reasons) and reasons else text(reasons)
        for index, message in enumerate(node.answered):
            where = f"{span.place}, answer {index}"
            turn.stop_reason = turn.stop_reason or text(obj(message).get("finish_reason"))
            parts = self._parts(obj(message), where)
            talk.said[_key("assistant", parts)] += 1
            self.run.message(
                "assistant", parts, where, turn=turn, at=span.finished_at, foreign_id=text(obj(message).get("id"))
            )
        if span.is_error:
            turn.fail(span.error)
        elif not node.answered:
            self.book.miss("model call whose messages were not recorded", span.place)

    def _asked(self, talk: _Talk, node: _Node) -> None:
        """Takes those messages of a request that its conversation does not have yet."""
        here: Counter[str] = Counter()
        is_new = bool(node.span.attributes.get("jupyter_agent.new_messages_only"))
        for index, item in enumerate(node.asked):
            where = f"{node.span.place}, message {index}"
            if id(item) not in self.decoded:
                # Once, however many requests tell it: what cannot be mapped is counted on the way.
                self.decoded[id(item)] = self._decoded(obj(item), where)
            if (message := self.decoded[id(item)]) is None:
                continue
            here[message.key] += 1
            if here[message.key] <= talk.said[message.key] and not is_new:
                continue
            talk.said[message.key] += 1
            if message.role == "assistant":
                # Said before this trace began, or by a call that was not recorded: it makes no turn here.
                self.book.miss("answer without its model call", where)
            self.run.message(message.role, message.parts, where, at=node.span.started_at)

    def _decoded(self, message: dict[str, Any], where: str) -> _Message | None:
        role = ROLES.get(str(first(message.get("role"), "user")).lower())
        if role is None:
            self.book.miss(f"message of role {text(message.get('role')) or 'unknown'}", where)
            return None
        parts = self._parts({**message, "role": role}, where)
        if role == "user" and parts and all(isinstance(part, ToolResult) for part in parts):
            role = "tool"
        return _Message(role, parts, _key(role, parts))

    def _parts(self, message: dict[str, Any], where: str) -> list[Part]:
        if ROLES.get(str(message.get("role")).lower()) == "tool" and "parts" not in message:
            return [openai.result_of(message, self.run, where)]
        return openai.spoken(message, self.run, where)

    # --- tools --------------------------------------------------------------------------------------------------

    def _turn_before(self, span: Span) -> TurnDraft | None:
        """Returns the turn that a call belongs to of which no message tells: the last one begun before it."""
        told = count(span.attributes.get("jupyter_agent.turn"))
        if told is not None and told < len(self.run.turns):
            return self.run.turns[told]
        at = bisect_right(self.begun, span.started_at, key=itemgetter(0)) if span.started_at else 0
        return self.begun[at - 1][1] if at else None

    def _execute(self, node: _Node) -> None:
        span, said = node.span, node.span.attributes
        asked = ToolCall(
            tool_call_id=text(said.get("gen_ai.tool.call.id")) or "",
            name=text(first(said.get("gen_ai.tool.name"), said.get("traceloop.entity.name"))) or span.name,
            arguments=written(first(said.get("gen_ai.tool.call.arguments"), said.get("traceloop.entity.input"))),
        )
        call = self.run.executed(asked, span.place, at=span.started_at, turn=self._turn_before(span))
        call.arguments = call.arguments or asked.arguments
        call.started_at, call.finished_at, call.latency_ms = span.started_at, span.finished_at, span.latency_ms
        result = first(said.get("gen_ai.tool.call.result"), said.get("traceloop.entity.output"))
        outcome = Outcome.ERROR if span.is_error else Outcome.SUCCESS
        if own := text(said.get("jupyter_agent.outcome")):
            if own not in set(Outcome):
                return
            call.outcome, outcome = None, Outcome(own)
        call.end(None if result is None else written(result), outcome, error=span.error)


def _key(role: str, parts: list[Part]) -> str:
    """Returns what makes two messages the same: who said what, which calls and results. Thoughts are often left out
    when a message is told again."""
    said: list[Any] = [role]
    for part in parts:
        match part:
            case Text(text=words):
                said.append(words.strip())
            case ToolCall(tool_call_id=found, name=name, arguments=arguments):
                said.append(("call", found, name, arguments if not found else ""))
            case ToolResult(tool_call_id=found, content=content):
                said.append(("result", found, content))
            case _:
                continue
    return repr(said)
