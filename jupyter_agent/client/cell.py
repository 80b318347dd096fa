"""Executes code in the user's namespace for `run_cell`, inside of the cell that waits for the run.

A request to the kernel would queue behind that cell for ever. What the code prints, shows and raises is captured for
the model and streamed as progress, instead of going to the notebook.
"""

import asyncio
import io
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

from ..records import clean
from .tool import RESULT_CAP

MIME_CAP = 600_000
"""Characters of all rich results of one call together: they travel in one frame of at most 1 MiB."""

RICH_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml", "text/html", "application/json")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")


class CellAnswer(Struct, frozen=True, kw_only=True):
    """What executed code gave: `result` is what the model reads, `mime` maps MIME types to base64 or text."""

    result: str
    is_error: bool = False
    mime: dict[str, str] = {}


def run_in_shell(shell: Any, code: str, progress: Callable[[str], None]) -> CellAnswer:
    """Executes a cell in the calling thread and returns its answer; an exception in the code is an error answer.

    Top-level `await` runs in an event loop of its own, since the thread's loop is waiting for us.
    """
    with Capture(shell, progress) as capture:
        if is_async(shell, code):
            with no_running_loop():
                outcome = asyncio.run(_execute(shell, code))
        else:
            outcome = shell.run_cell(code, store_history=False, silent=False)
        return capture.answer(outcome)


async def arun_in_shell(shell: Any, code: str, progress: Callable[[str], None]) -> CellAnswer:
    """The same for a cell that waits by `await`: top-level `await` shares its loop."""
    with Capture(shell, progress) as capture:
        if is_async(shell, code):
            outcome = await _execute(shell, code)
        else:
            outcome = shell.run_cell(code, store_history=False, silent=False)
        return capture.answer(outcome)


def is_async(shell: Any, code: str) -> bool:
    """Tells whether the code has an `await` of its own."""
    return bool(shell.should_run_async(code, transformed_cell=_transformed(shell, code)[0]))


def _transformed(shell: Any, code: str) -> tuple[str, Any]:
    """Returns the cell with its magics made Python, and the exception where that fails, as the kernel does."""
    try:
        return shell.transform_cell(code), None
    except Exception:  # noqa: BLE001 - any input transformer of the user's may raise anything
        return code, sys.exc_info()


async def _execute(shell: Any, code: str) -> Any:
    transformed, fault = _transformed(shell, code)
    outcome = None
    try:
        outcome = await shell.run_cell_async(
            code, store_history=False, silent=False, transformed_cell=transformed, preprocessing_exc_tuple=fault
        )
    finally:
        shell.events.trigger("post_execute")
        shell.events.trigger("post_run_cell", outcome)
    return outcome


@contextmanager
def no_running_loop() -> Iterator[None]:
    """Lets this thread run another event loop while the one that called us is waiting."""
    waiting = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(waiting)


class _Stream(io.TextIOBase):
    """Takes the place of sys.stdout or sys.stderr."""

    encoding = "utf-8"

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take = take

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._take(text)
        return len(text)


class _Publisher:
    """Takes the place of the shell's display publisher."""

    is_publishing = False

    def __init__(self, take: Callable[[Mapping[str, Any]], None]) -> None:
        self._take = take

    def publish(self, data: Mapping[str, Any], metadata: Any = None, **_: Any) -> None:  # noqa: ARG002 - its signature
        self._take(data)

    def clear_output(self, wait: bool = False) -> None:  # noqa: FBT001, FBT002 - its signature
        """What was shown stays: the model reads all of it."""


class Capture:
    """Everything that a cell says, taken down in order while it runs."""

    def __init__(self, shell: Any, progress: Callable[[str], None]) -> None:
        self._shell = shell
        self._progress = progress
        self._text: list[str] = []
        self._length = 0
        self._mime: dict[str, str] = {}
        self._left_out: list[str] = []

    def __enter__(self) -> "Capture":
        shell = self._shell
        kernel = getattr(shell, "kernel", None)
        self._saved = (
            sys.stdout, sys.stderr, sys.displayhook, shell.display_pub, getattr(kernel, "_allow_stdin", None)
        )  # fmt: skip
        sys.stdout = sys.stderr = _Stream(self.say)
        sys.displayhook = self._show
        shell.display_pub = _Publisher(self._publish)
        shell._showtraceback = self._traceback
        if kernel is not None:
            kernel._allow_stdin = False  # nobody would see a question that the agent's code asks
        return self

    def __exit__(self, *_: object) -> None:
        shell = self._shell
        kernel = getattr(shell, "kernel", None)
        sys.stdout, sys.stderr, sys.displayhook, shell.display_pub, allow_stdin = self._saved
        del shell._showtraceback
        if kernel is not None:
            kernel._allow_stdin = allow_stdin

    def say(self, text: str) -> None:
        """Takes text down, as far as the cap goes, and streams it."""
        text = clean(_ESCAPES.sub("", text))
        if text and self._length < RESULT_CAP:
            self._text.append(text[: RESULT_CAP - self._length])
            self._progress(self._text[-1])
        self._length += len(text)

    def _show(self, value: Any) -> None:
        """The value of a cell's last expression. The user's own `_` and `Out` stay as they are."""
        if value is not None:
            data, _ = self._shell.display_formatter.format(value)
            if data:
                self._publish(data)

    def _publish(self, data: Mapping[str, Any]) -> None:
        if isinstance(plain := data.get("text/plain"), str):
            self.say(plain if plain.endswith("\n") else f"{plain}\n")
        for mime in RICH_TYPES:
            if (value := data.get(mime)) is not None:
                self._keep(mime, value)

    def _keep(self, mime: str, value: Any) -> None:
        if isinstance(value, bytes):
            import base64

            value = base64.b64encode(value).decode()
        text = value.strip() if isinstance(value, str) else str(value)
        others = sum(len(kept) for name, kept in self._mime.items() if name != mime)
        if others + len(text) > MIME_CAP:
            self._left_out.append(f"{mime} of {len(text):,} characters")
        else:
            self._mime[mime] = text

    def _traceback(self, etype: type[BaseException], evalue: BaseException, stb: list[str]) -> None:  # noqa: ARG002
        self.say("\n".join(stb) + "\n")

    def answer(self, outcome: Any) -> CellAnswer:
        """Returns what the cell gave."""
        text = "".join(self._text)
        if self._length > RESULT_CAP:
            text += f"\n… cut: {self._length:,} characters, of which these are the first {RESULT_CAP:,}."
        if self._left_out:
            text += f"\n(left out as too large to send: {', '.join(self._left_out)})"
        fault = outcome is None or not outcome.success
        if not text:
            text = "The code failed without saying why." if fault else "(no output)"
        return CellAnswer(result=text, is_error=fault, mime=self._mime)
