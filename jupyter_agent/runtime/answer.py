"""One model answer while it streams: pieces come in, events go out, a message is left."""

import re
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from .. import events as ev
from ..exceptions import InvalidModelAnswer
from ..models import contract as model
from ..records import ID_PATTERN, Message, Text, Thinking, ToolCall, Usage, clean, new_id
from .active import ActiveRun

MAX_PIECE_CHARS = 32 * 1024
USAGE_EVERY_S = 0.5


class Answer:
    """Takes the pieces of one turn. `has_begun` says that somebody has seen some of it: it cannot be taken back."""

    def __init__(self, run: ActiveRun) -> None:
        self._run = run
        self._prose: list[_Prose] = []
        self._calls: dict[int, ToolCall] = {}
        self._ended: set[int] = set()
        self._used_ids: Collection[str] = frozenset(run.transcript.tool_calls)
        self._usage_shown_at = 0.0
        self.message_id = new_id("msg")
        self.has_begun = False
        self.finished: model.Finished | None = None
        self.usage = Usage(requests=1, unmeasured_requests=1)

    async def take(self, piece: model.Piece) -> None:
        """Appends the events of one piece. Raises InvalidModelAnswer for pieces that make no sense."""
        match piece:
            case model.TextPiece(content=content):
                await self._take_text(clean(content))
            case model.ThinkingPiece(content=content, signature=signature):
                await self._take_thinking(clean(content), signature)
            case model.CallStarted():
                await self._start_call(piece)
            case model.CallPiece(index=index, arguments=arguments):
                await self._grow_call(index, clean(arguments))
            case model.CallEnded(index=index):
                await self._end_call(index)
            case model.UsageSoFar(usage=usage):
                await self.show_usage(usage)
            case model.Finished():
                self.finished, self.usage = piece, piece.usage

    async def close(self) -> None:
        """Ends the calls that the stream left open, so that each has its end."""
        for index in self._calls:
            await self._end_call(index)

    @property
    def message(self) -> Message:
        """The whole answer, as the model gave it."""
        prose = (part.part(self._run.model.name.partition(":")[0]) for part in self._prose)
        return Message(role="assistant", parts=(*prose, *self._calls.values()), message_id=self.message_id)

    @property
    def cut_message(self) -> Message:
        """What of a cut-off answer can be kept: its text. Calls that may be incomplete are not."""
        texts = tuple(part for part in self.message.parts if isinstance(part, Text))
        return Message(role="assistant", parts=texts, message_id=self.message_id)

    async def show_usage(self, usage: Usage, *, is_final: bool = False) -> None:
        self.usage = usage
        now = time.monotonic()
        if not is_final and now - self._usage_shown_at < USAGE_EVERY_S:
            return
        self._usage_shown_at = now
        await self._run.stream(
            ev.UsageReported(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cache_read_tokens=usage.cache_read_tokens,
                cache_write_tokens=usage.cache_write_tokens,
                reasoning_tokens=usage.reasoning_tokens,
                context_used=usage.total_tokens,
                context_max=self._run.context_max,
            )
        )

    async def _take_text(self, content: str) -> None:
        for chunk in _chunks(content):
            self.has_begun = True
            await self._run.stream(ev.TextDelta(content=chunk))
        if content:
            self._open(Text).chunks.append(content)

    async def _take_thinking(self, content: str, signature: str | None) -> None:
        for chunk in _chunks(content):
            self.has_begun = True
            await self._run.stream(ev.ThinkingDelta(content=chunk))
        thought = self._open(Thinking)
        thought.chunks.append(content)
        thought.signature = signature

    def _open(self, kind: type[Text] | type[Thinking]) -> "_Prose":
        """Returns the stretch of text or thinking that goes on, or a new one. A signature closes a thought."""
        if not self._prose or self._prose[-1].kind is not kind or self._prose[-1].signature is not None:
            self._prose.append(_Prose(kind))
        return self._prose[-1]

    async def _start_call(self, piece: model.CallStarted) -> None:
        if piece.index in self._calls:
            raise InvalidModelAnswer(f"The model started its tool call {piece.index} twice in one answer; try again.")
        name = clean(piece.name) or "unnamed"
        tool_call_id = self._free_id(piece.provider_id)
        self._calls[piece.index] = ToolCall(
            tool_call_id=tool_call_id, name=name, arguments="", provider_id=piece.provider_id
        )
        self.has_begun = True
        await self._run.stream(ev.ToolCallStart(tool_call_id=tool_call_id, name=name))
        await self._grow_call(piece.index, clean(piece.arguments))

    async def _grow_call(self, index: int, arguments: str) -> None:
        call = self._call(index)
        for chunk in _chunks(arguments):
            await self._run.stream(ev.ToolCallDelta(tool_call_id=call.tool_call_id, arguments=chunk))
        self._calls[index] = ToolCall(
            tool_call_id=call.tool_call_id,
            name=call.name,
            arguments=call.arguments + arguments,
            provider_id=call.provider_id,
        )

    async def _end_call(self, index: int) -> None:
        if index not in self._ended:
            self._ended.add(index)
            await self._run.stream(ev.ToolCallEnd(tool_call_id=self._call(index).tool_call_id))

    def _call(self, index: int) -> ToolCall:
        if index not in self._calls:
            raise InvalidModelAnswer(f"The model went on with a tool call {index} that it had not started; try again.")
        return self._calls[index]

    def _free_id(self, provider_id: str | None) -> str:
        """Returns the provider's own id where it is new to the run and fit to be one, else a fresh one."""
        taken = {call.tool_call_id for call in self._calls.values()}
        if provider_id and re.fullmatch(ID_PATTERN, provider_id) and provider_id not in {*taken, *self._used_ids}:
            return provider_id
        return new_id("call")


@dataclass
class _Prose:
    """A stretch of text or thinking, kept in pieces while it grows."""

    kind: type[Text] | type[Thinking]
    chunks: list[str] = field(default_factory=list)
    signature: str | None = None

    def part(self, provider: str) -> Text | Thinking:
        text = "".join(self.chunks)
        return (
            Text(text=text) if self.kind is Text else Thinking(text=text, signature=self.signature, provider=provider)
        )


def _chunks(text: str) -> Iterator[str]:
    """Yields the text in pieces that fit a journal's line whatever they hold."""
    for start in range(0, len(text), MAX_PIECE_CHARS):
        yield text[start : start + MAX_PIECE_CHARS]
