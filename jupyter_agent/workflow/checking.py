"""Checks a script before it runs: by our rules, then by the sandbox's parser and type checker. Nothing of it runs.

The checker is asked about all cells as one text that begins with a call to the server: the sandbox parses and checks
the whole, suspends at that call, and is left there.
"""

from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any, Final

import msgspec

from ..exceptions import WorkflowInvalid
from .cell import Cell
from .limits import Limits
from .portable import WORDS, WORDS_MODULE, Problem, problem, problems_in
from .sandbox import Sandbox, library
from .script_file import Script

MAX_SHOWN: Final = 20
_BEGIN: Final = "begin__()"
"""What a check suspends at, before the first line."""
_CERTAIN: Final = frozenset({"unresolved-reference", "unresolved-import", "invalid-syntax"})
"""What the type checker cannot be wrong about. Of the rest only what concerns our words and modules counts: types that
it made out for a script without annotations are guesses."""
_ABOUT_CALLS: Final = frozenset(
    {"invalid-argument-type", "unknown-argument", "missing-argument", "too-many-positional-arguments"}
)
_MEMORY: Final = 512 << 20
"""The type checker's own memory counts as the script's."""


@cache
def stubs() -> str:
    """Returns what type checkers are told of the words, here as in editors: the text of `jupyter_agent/words.pyi`."""
    return files("jupyter_agent").joinpath("words.pyi").read_text(encoding="utf-8")


class _Position(msgspec.Struct):
    row: int = 1
    column: int = 1


class _Diagnostic(msgspec.Struct):
    message: str
    code: str = ""
    name: str = ""
    severity: str = "error"
    location: _Position | None = None


async def check(sandbox: Sandbox, script: Script) -> list[Problem]:
    """Returns what of a script the sandbox would not run, in order; [] for one that may be started."""
    problems = problems_in(script)
    return problems or await _check_inside(sandbox, script)


async def check_or_refuse(sandbox: Sandbox, script: Script) -> None:
    """Raises WorkflowInvalid with the first problem as its message and all of them in `details["problems"]`."""
    problems = await check(sandbox, script)
    if problems:
        first = problems[0]
        more = f" ({len(problems) - 1} more like it.)" if len(problems) > 1 else ""
        raise WorkflowInvalid(
            first.message + more,
            details={
                "line": first.line,
                "column": first.column,
                "cell": first.cell,
                "construct": first.construct,
                "problems": [msgspec.to_builtins(one) for one in problems[:MAX_SHOWN]],
            },
        )


async def _check_inside(sandbox: Sandbox, script: Script) -> list[Problem]:
    monty = library()
    text, lines = _joined(script)
    limits = Limits(memory_bytes=_MEMORY)
    began_at = datetime(2000, 1, 1, tzinfo=UTC)
    known = f"{stubs()}\ndef {_BEGIN} -> None: ...\n"
    async with sandbox.session(limits, began_at=began_at, seed="check", stubs=known) as session:
        try:
            snapshot = await session.feed_start(text)
            while getattr(snapshot, "function_name", "") == "import_stubs":
                # It asks for what it does not know of a script's imports: there is one module of ours, for its eyes.
                snapshot = await snapshot.resume({"return_value": {WORDS_MODULE: stubs()}})
        except monty.MontyTypingError as fault:
            said = msgspec.json.decode(fault.display(), type=list[_Diagnostic])
            return [_from_types(one, lines) for one in said if _counts(one)] or await _parsed(sandbox, text, lines)
        except monty.MontyCrashedError as fault:
            return [problem(*lines[1], 1, "script", f"the sandbox could not check it: {fault}")]
        except monty.MontyError as fault:
            return [_from_parser(fault, lines)]
    return []


async def _parsed(sandbox: Sandbox, text: str, lines: list[tuple[Cell, int]]) -> list[Problem]:
    """Asks the parser alone, where all that the type checker said were guesses."""
    async with sandbox.session(Limits(), began_at=datetime(2000, 1, 1, tzinfo=UTC), seed="check") as session:
        try:
            await session.feed_start(text)
        except library().MontyError as fault:
            return [_from_parser(fault, lines)]
    return []


def _joined(script: Script) -> tuple[str, list[tuple[Cell, int]]]:
    """Returns all cells as one text behind the call, and for each of its lines (from 0) the cell and the line in it."""
    texts, lines = [_BEGIN], [(script.cells[0], 1)]
    for cell in script.cells:
        texts.append(cell.text)
        lines.extend((cell, number) for number in range(1, cell.text.count("\n") + 2))
    return "\n".join(texts), lines


def _counts(one: _Diagnostic) -> bool:
    if one.severity not in ("error", "fatal"):
        return False
    code = one.code or one.name
    if code in _CERTAIN:
        return True
    if code == "unresolved-attribute":
        return one.message.startswith("Module ")
    return code in _ABOUT_CALLS and any(f"function `{word}`" in one.message for word in WORDS)


def _from_types(one: _Diagnostic, lines: list[tuple[Cell, int]]) -> Problem:
    at = one.location or _Position()
    cell, line = lines[min(at.row, len(lines)) - 1]
    return problem(cell, line, at.column, one.code or one.name, f"{one.message}.")


def _from_parser(fault: Any, lines: list[tuple[Cell, int]]) -> Problem:
    frames = fault.traceback()
    row, column = (frames[-1].line, frames[-1].column) if frames else (1, 1)
    cell, line = lines[min(row, len(lines)) - 1]
    text = str(fault.exception()).removeprefix("The monty syntax parser does not yet support ")
    return problem(cell, line, column, text[:60], f"the sandbox does not run {text}.")
