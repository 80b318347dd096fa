"""What the demo model reads out of a request: the task, what was done for it in this run, and what came of it."""

import json
import re
from functools import cached_property
from typing import Any

from msgspec import Struct

from ...records import Image, Message, ToolCall, ToolResult
from ..answer import Call
from ..contract import ModelRequest

RULES_READ = 2_000
"""Characters of a task that the rules look at: a pattern must not be slow on any input."""

LOOP_NOTES = ("Your last message was cut off",)
"""How messages begin that have the role of the person but come from the loop."""

_QUOTED = re.compile(r"`([^`\n]{1,200})`|\"([^\"\n]{1,200})\"|(?<!\w)'([^'\n]{1,200})'(?!\w)")
_FILE_NAME = re.compile(
    r"[^\s`\"']{1,200}\.(csv|tsv|txt|md|rst|py|ipynb|r|sql|json|jsonl|ya?ml|toml|cfg|ini|sh|html|xml|log|tex"
    r"|png|jpe?g|gif|webp|svg|pdf|parquet|xlsx)",
    re.IGNORECASE,
)
_REFUSALS = ("rejected", "was not executed", "does not allow this call", "not approved")


class Step(Struct, frozen=True, kw_only=True):
    """A tool call of this run and what came back; `round` is the turn that asked for it."""

    name: str
    arguments: dict[str, Any]
    content: str
    is_error: bool
    images: tuple[Image, ...]
    round: int

    @property
    def was_refused(self) -> bool:
        """A person or a policy said no, or nobody answered in time."""
        return self.is_error and any(word in self.content[:300].lower() for word in _REFUSALS)


class Conversation:
    """The request, seen from the task that the run is for."""

    def __init__(self, request: ModelRequest) -> None:
        self.request = request
        self.tools = {tool.name: tool for tool in request.tools}
        self._start = _start_of_run(request)

    @property
    def _message(self) -> Message | None:
        messages = self.request.messages
        return messages[self._start] if self._start < len(messages) else None

    @cached_property
    def task(self) -> str:
        """What the person asked for in this run."""
        return self._message.text.strip() if self._message else ""

    @cached_property
    def images(self) -> tuple[Image, ...]:
        return tuple(part for part in self._message.parts if isinstance(part, Image)) if self._message else ()

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The tool calls of this run with their results, in the order asked."""
        calls: list[tuple[int, ToolCall]] = []
        results: dict[str, ToolResult] = {}
        turn = -1
        for message in self.request.messages[self._start + 1 :]:
            turn += message.role == "assistant"
            calls += [(turn, call) for call in message.tool_calls]
            results |= {part.tool_call_id: part for part in message.parts if isinstance(part, ToolResult)}
        return tuple(_step(turn, call, results.get(call.tool_call_id)) for turn, call in calls)

    @cached_property
    def last(self) -> tuple[Step, ...]:
        """The steps of the latest round."""
        latest = max((step.round for step in self.steps), default=-1)
        return tuple(step for step in self.steps if step.round == latest)

    @cached_property
    def rounds(self) -> int:
        """How many answers this run has had, by its messages or by its count."""
        answers = sum(message.role == "assistant" for message in self.request.messages[self._start + 1 :])
        return max(answers, self.request.turn)

    def done(self, *names: str) -> list[Step]:
        """Returns the steps that used one of these tools and went well."""
        return [step for step in self.steps if step.name in names and not step.is_error]

    def tried(self, *names: str) -> bool:
        """Tells whether one of these tools was called in this run, however it ended."""
        return any(step.name in names for step in self.steps)

    def has(self, *names: str) -> bool:
        """Tells whether all of these tools are offered."""
        return all(name in self.tools for name in names)

    def says(self, pattern: str) -> bool:
        """Tells whether the beginning of the task matches this pattern of ours, in any case."""
        return re.search(pattern, self.task[:RULES_READ], re.IGNORECASE) is not None

    def files(self, ending: str = "") -> list[str]:
        """Returns the file names in the task, each once; `ending` picks those that end so."""
        return [name for name in file_names(self.task) if name.lower().endswith(ending)]

    def paths(self, ending: str = "") -> list[str]:
        """Returns the files that the task means: a bare name is the path that the thread named so before."""
        return [name if "/" in name else self.earlier_file(f"/{name.lower()}") or name for name in self.files(ending)]

    def earlier_file(self, ending: str) -> str | None:
        """Returns the file with this ending that was named last in earlier messages of the thread."""
        for message in reversed(self.request.messages[: self._start]):
            names = [name for name in file_names(message.text) if name.lower().endswith(ending)]
            if names:
                return names[-1]
        return None


def quoted(text: str) -> list[str]:
    """Returns what stands in quotes or backticks at the beginning of the text."""
    return [next(filter(None, found)) for found in _QUOTED.findall(text[:RULES_READ])]


def file_names(text: str) -> list[str]:
    """Returns what looks like a file's name at the beginning of the text, each once, quoted ones first."""
    words = (word.strip("`\"'()[]{}<>,;:!?").rstrip(".") for word in text[:RULES_READ].split())
    names = [name.strip() for name in (*quoted(text), *words) if _FILE_NAME.fullmatch(name.strip())]
    return list(dict.fromkeys(names))


def tool_call(name: str, **arguments: Any) -> Call:
    """Returns a call with its arguments as JSON text."""
    return Call(name=name, arguments=json.dumps(arguments, ensure_ascii=False))


def _start_of_run(request: ModelRequest) -> int:
    """Returns the index of the message that holds this run's task.

    It is the last one of the person before the first of the run's answers, of which there are `request.turn`.
    """
    messages, answers = request.messages, request.turn
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        if message.role == "assistant":
            answers -= 1
        elif message.role == "user" and answers <= 0 and not message.text.startswith(LOOP_NOTES):
            return index
    return next((index for index, message in enumerate(messages) if message.role == "user"), len(messages))


def _step(turn: int, call: ToolCall, result: ToolResult | None) -> Step:
    try:
        arguments = json.loads(call.arguments)
    except ValueError:
        arguments = {}
    return Step(
        name=call.name,
        arguments=arguments if isinstance(arguments, dict) else {},
        content=result.content if result else "There is no result.",
        is_error=result.is_error if result else True,
        images=result.images if result else (),
        round=turn,
    )
