"""A folder in which a model's tool calls are really carried out, and the exchange that drives a model through a run."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from jupyter_agent.models import Finished, Model, ModelRequest
from jupyter_agent.records import Effect, Image, Message, Text, Thinking, ToolCall, ToolResult, ToolSpec
from tests.models.collected import answer_of, collect, finished

PYTHON_S = 60


def spec(name: str, *effects: Effect, **parameters: str) -> ToolSpec:
    """Returns a tool's specification; a parameter whose type ends with ? is optional."""
    kinds = {key: {"type": kind.rstrip("?")} for key, kind in parameters.items()}
    required = [key for key, kind in parameters.items() if not kind.endswith("?")]
    return ToolSpec(
        name=name,
        description=f"{name}.",
        parameters={"type": "object", "properties": kinds, "required": required},
        effects=effects or (Effect.READ,),
    )


TOOLS = (
    spec("list_files", path="string?", pattern="string?"),
    spec("read_file", path="string", start_line="integer?", max_lines="integer?"),
    spec("search_files", query="string", path="string?", pattern="string?"),
    spec("create_file", Effect.WRITE, path="string", content="string"),
    spec("run_cell", Effect.EXEC, code="string"),
    spec("ask_user", prompt="string", schema="object?"),
)


@dataclass
class Folder:
    """Carries tool calls out in a folder; `answers` are what the person says, `refuses` which tools they reject."""

    root: Path
    refuses: frozenset[str] = frozenset()
    answer: str = "blue"
    blocked: str = ""

    def call(self, call: ToolCall) -> ToolResult:
        content, is_error, images = self._carry_out(call.name, json.loads(call.arguments))
        return ToolResult(
            tool_call_id=call.tool_call_id, name=call.name, content=content, is_error=is_error, images=images
        )

    def _carry_out(self, name: str, arguments: dict[str, Any]) -> tuple[str, bool, tuple[Image, ...]]:
        if name in self.refuses:
            return f"The person rejected this call of {name}. Do not try it again.", True, ()
        try:
            match name:
                case "list_files":
                    return self.list_files(**arguments), False, ()
                case "read_file":
                    return self.read_file(**arguments), False, ()
                case "search_files":
                    return self.search_files(**arguments), False, ()
                case "create_file":
                    (self.root / arguments["path"]).write_text(arguments["content"])
                    return f"Created {arguments['path']}.", False, ()
                case "run_cell":
                    return self.run_cell(**arguments)
                case "ask_user":
                    return self.answer, False, ()
        except (OSError, TypeError) as error:
            return f"{name}: {error}", True, ()
        return f"There is no tool {name}.", True, ()

    def list_files(self, path: str = ".", pattern: str | None = None) -> str:
        files = sorted(p for p in (self.root / path).rglob("*") if p.is_file())
        names = [str(p.relative_to(self.root)) for p in files]
        kept = [name for name in names if pattern is None or fnmatch(Path(name).name, pattern.removeprefix("**/"))]
        lines = [f"{name}  {(self.root / name).stat().st_size} bytes" for name in kept]
        return "\n".join(lines) or f"No file matches {pattern}."

    def read_file(self, path: str, start_line: int = 1, max_lines: int = 500) -> str:
        lines = (self.root / path).read_text(errors="replace").splitlines()
        shown = lines[start_line - 1 : start_line - 1 + max_lines]
        last = start_line - 1 + len(shown)
        note = [f"[lines {start_line} to {last} of {len(lines)}; go on with start_line={last + 1}]"]
        return "\n".join([*shown, *(note if last < len(lines) else [])])

    def search_files(self, query: str, path: str = ".") -> str:
        found = [
            f"{file.relative_to(self.root)}:{number}: {line}"
            for file in sorted((self.root / path).rglob("*"))
            if file.is_file()
            for number, line in enumerate(file.read_text(errors="replace").splitlines(), start=1)
            if re.search(query, line)
        ]
        return "\n".join(found) or "Nothing found."

    def run_cell(self, code: str) -> tuple[str, bool, tuple[Image, ...]]:
        """Runs the code in a Python of its own, where the modules named in `blocked` cannot be imported."""
        block = f"import sys; sys.modules.update(dict.fromkeys({self.blocked.split()!r}))\n"
        done = subprocess.run(
            [sys.executable, "-c", block + code],
            cwd=self.root,
            env={**os.environ, "MPLBACKEND": "Agg"},
            capture_output=True,
            text=True,
            timeout=PYTHON_S,
            check=False,
        )
        drawn = done.returncode == 0 and "plt.show()" in code
        output = done.stdout + (done.stderr if done.returncode else "")
        return output, done.returncode != 0, (Image(blob="0" * 64, mime="image/png"),) if drawn else ()


@dataclass
class Exchange:
    """Drives a model through one run, as the loop does, with the tools of a folder."""

    model: Model
    folder: Folder
    tools: tuple[ToolSpec, ...] = TOOLS
    settings: Mapping[str, Any] = field(default_factory=lambda: {"pace": 0})
    messages: list[Message] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)
    instructions: str = ""

    async def ask(self, text: str, *images: Image, turns: int = 12) -> str:
        """Returns the answer to a task. Fails when the model has not ended after this many turns."""
        self.messages.append(Message(role="user", parts=(Text(text=text), *images)))
        for turn in range(turns):
            request = ModelRequest(
                messages=tuple(self.messages), tools=self.tools, turn=turn, settings=self.settings, run_id="run_1",
                instructions=self.instructions,
            )  # fmt: skip
            pieces = await collect(self.model, request)
            message = answer_of(pieces, provider="demo", turn=turn)
            self.messages.append(message)
            self.finished.append(finished(pieces))
            if not message.tool_calls:
                return message.text
            results = tuple(self.folder.call(call) for call in message.tool_calls)
            self.messages.append(Message(role="tool", parts=results))
        raise AssertionError(f"The model did not end within {turns} turns.")

    @property
    def called(self) -> list[str]:
        return [call.name for message in self.messages for call in message.tool_calls]

    def transcript(self) -> str:
        """Returns the whole exchange as text, for people."""
        lines: list[str] = []
        for message in self.messages:
            for part in message.parts:
                with contextlib.suppress(KeyError):
                    lines.append(_SHOWN[type(part)](part, message.role))
        return "\n".join(lines)


_SHOWN: dict[type, Any] = {
    Text: lambda part, role: f"\n--- {role}\n{part.text}",
    Thinking: lambda part, _: f"\n--- thinking\n{part.text}",
    ToolCall: lambda part, _: (
        f"\n--- call {part.name}\n" + "\n".join(f"{key}: {value}" for key, value in json.loads(part.arguments).items())
    ),
    ToolResult: lambda part, _: f"\n--- result of {part.name}{' (error)' if part.is_error else ''}\n{part.content}",
}
