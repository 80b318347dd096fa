"""Carries a script out in the sandbox, cell by cell in one session, with a host for its words.

The driver is our own: the sandbox suspends at each word, a task of ours does it, and the sandbox goes on with what is
done. A run whose calls take long gives its worker back: its state is dumped, and loaded into the next free worker when
something is done. Whatever happens to a dump, the run can be replayed from its beginning, since the host knows the
answers of finished calls and the script's clock and randomness are fixed.
"""

import ast
import asyncio
import logging
import time
import zlib
from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, Final

import msgspec

from ..exceptions import AgentError, SandboxLimit, WorkflowFailed
from ..script import Host
from .cell import Cell
from .dumps import Dump, Dumps, Progress
from .hosting import HostWords, raised_inside
from .inside import RESULT, inside_source
from .limits import Limits
from .sandbox import Sandbox, library
from .script_file import Script, parsed

MAX_SLEEP_S: Final = 3600.0
_log = logging.getLogger(__name__)


class Carrying:
    """One run of a script. `run_id` names its dump and seeds its randomness, `began_at` is what its clock shows."""

    def __init__(
        self,
        sandbox: Sandbox,
        script: Script,
        host: Host,
        *,
        run_id: str,
        began_at: datetime,
        limits: Limits | None = None,
        dumps: Dumps | None = None,
    ) -> None:
        self._monty = library()
        self._sandbox = sandbox
        self._script = script
        self._host = host
        self._words = HostWords(host)
        self._run_id = run_id
        self._began_at = began_at
        self._limits = limits or Limits()
        self._dumps = dumps
        self._texts = [inside_source(), *texts_of(script), RESULT]
        self._progress = Progress()
        self._tasks: dict[int, asyncio.Task[Any]] = {}
        self._session: Any = None
        self._worker = AsyncExitStack()
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()

    async def run(self) -> Any:
        """Returns the script's result: what its last expression is, as plain data; None where it has none.

        Raises WorkflowFailed for what the script raises, SandboxLimit for a limit. Cancelling it ends the script,
        whatever it does, and its calls.
        """
        try:
            result = await self._run()
        except self._monty.MontyError as fault:
            raise self._failure(fault) from fault
        finally:
            await self._end()
        if self._dumps is not None:
            await asyncio.to_thread(self._dumps.forget, self._run_id)
        return result

    async def _run(self) -> Any:
        snapshot = await self._restored()
        inputs: Mapping[str, Any] | None = None
        if self._session is None:
            await self._take_worker()
            inputs = {"args": dict(self._host.args), "budget": self._budget()}
        while True:
            if snapshot is None:
                text = self._texts[self._progress.fed]
                snapshot = await self._turn(self._session.feed_start(text, inputs=inputs, print_callback=self._print))
                inputs = None
            while not isinstance(snapshot, self._monty.MontyComplete):
                snapshot = await self._answer(snapshot)
            self._progress.fed += 1
            if self._progress.fed == len(self._texts):
                return self._result(snapshot.output)
            snapshot = None

    # --- the sandbox's turns ------------------------------------------------------------------------------------

    async def _turn(self, turn: Awaitable[Any]) -> Any:
        """Lets the sandbox work until it suspends or ends; ends it where it went over a limit meanwhile."""
        self._progress.suspensions += 1
        if self._progress.suspensions > self._limits.suspensions:
            raise self._limits.exceeded("suspensions")
        if self._progress.worked_s > self._limits.total_s:
            raise self._limits.exceeded("total_s")
        began = time.monotonic()
        working = asyncio.ensure_future(turn)
        try:
            await asyncio.wait({working, self._over}, return_when=asyncio.FIRST_COMPLETED)
            if self._over.done():
                raise self._limits.exceeded("printed_chars")
            return working.result()
        finally:
            # Where the worker is still at it, the session's end ends its process.
            working.cancel()
            self._progress.worked_s += time.monotonic() - began

    async def _answer(self, snapshot: Any) -> Any:
        monty = self._monty
        if isinstance(snapshot, monty.AsyncFutureSnapshot):
            return await self._wait(snapshot)
        if isinstance(snapshot, monty.AsyncNameLookupSnapshot):
            return await self._turn(self._looked_up(snapshot))
        if snapshot.is_os_function:
            return await self._turn(self._asked_system(snapshot))
        if snapshot.object_id is not None:
            value = self._words.budget(snapshot.function_name)
            return await self._turn(snapshot.resume({"return_value": value}))
        try:
            answer = self._said(snapshot)
        except SandboxLimit:
            raise
        except AgentError as fault:
            answer = raised_inside(fault)
        return await self._turn(snapshot.resume(answer))

    def _said(self, snapshot: Any) -> dict[str, Any]:
        """Starts what a word says, or does it. Names that are no words do not exist."""
        match snapshot.function_name, snapshot.args, snapshot.kwargs:
            case "_call", (str(word), str(said)), {}:
                self._progress.calls += 1
                if self._progress.calls > self._limits.calls:
                    raise self._limits.exceeded("calls")
                if len(said) > self._limits.call_bytes:
                    raise self._limits.exceeded("call_bytes")
                self._start(snapshot.call_id, word, said)
                return {"future": ...}
            case "_tell", (str(word), str(said)), {}:
                self._count_said(len(said))
                self._words.tell(word, said)
                return {"return_value": None}
        return {"exc_type": "NameError", "message": f"name {str(snapshot.function_name)[:60]!r} is not defined"}

    def _looked_up(self, snapshot: Any) -> Awaitable[Any]:
        turn: Awaitable[Any]
        if snapshot.object_id is None:
            turn = snapshot.resume()
            return turn
        try:
            turn = snapshot.resume(value=self._words.budget(snapshot.variable_name))
        except AttributeError:
            turn = snapshot.resume()
        return turn

    def _asked_system(self, snapshot: Any) -> Awaitable[Any]:
        """Answers what goes to an operating system: sleeping is done, all else is not there."""
        turn: Awaitable[Any]
        match snapshot.function_name, snapshot.args:
            case "asyncio.sleep" | "time.sleep", (float() | int() as delay, *_):
                self._start(snapshot.call_id, "sleep", str(min(float(delay), MAX_SLEEP_S)))
                if snapshot.function_name == "time.sleep":
                    return self._slept(snapshot)
                turn = snapshot.resume({"future": ...})
            case _:
                turn = snapshot.resume_not_handled()
        return turn

    async def _slept(self, snapshot: Any) -> Any:
        await self._tasks.pop(snapshot.call_id)
        self._progress.pending.pop(snapshot.call_id)
        return await snapshot.resume({"return_value": None})

    # --- calls --------------------------------------------------------------------------------------------------

    def _start(self, call_id: int, word: str, said: str) -> None:
        self._progress.pending[call_id] = (word, said)
        doing = asyncio.sleep(float(said), "null") if word == "sleep" else self._words.call(word, said, place=call_id)
        self._tasks[call_id] = self._loop.create_task(doing)

    async def _wait(self, snapshot: Any) -> Any:
        """Waits until one of the calls is done that everything inside waits for, and gives what is done."""
        ids = sorted(snapshot.pending_call_ids)
        waiting = [self._tasks[call_id] for call_id in ids]
        done, _ = await asyncio.wait(waiting, timeout=self._limits.hold_s, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            state = zlib.compress(snapshot.dump(), level=1)
            await self._release(state)
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            snapshot = await self._load(state)
        settled = {call_id: self._settled(call_id) for call_id in ids if self._tasks[call_id].done()}
        for call_id in settled:
            del self._tasks[call_id], self._progress.pending[call_id]
        return await self._turn(snapshot.resume(settled))

    def _settled(self, call_id: int) -> dict[str, Any]:
        task = self._tasks[call_id]
        if task.cancelled():
            return {"exc_type": "RuntimeError", "message": "The call was interrupted."}
        fault = task.exception()
        if fault is None:
            return {"return_value": task.result()}
        if not isinstance(fault, Exception):
            raise fault
        return raised_inside(fault)

    # --- workers ------------------------------------------------------------------------------------------------

    async def _take_worker(self) -> None:
        session = self._sandbox.session(self._limits, began_at=self._began_at, seed=self._run_id)
        self._session = await self._worker.enter_async_context(session)

    async def _release(self, state: bytes) -> None:
        self._session = None
        await self._worker.aclose()
        if self._dumps is not None:
            try:
                await asyncio.to_thread(self._dumps.save, self._run_id, self._script.digest, self._progress, state)
            except OSError as fault:
                # It goes on from what is in memory; after a restart it is replayed.
                _log.warning("The state of the run %s could not be kept: %s", self._run_id, fault)

    async def _load(self, state: bytes) -> Any:
        await self._take_worker()
        return await self._session.load_snapshot(zlib.decompress(state), print_callback=self._print)

    async def _restored(self) -> Any:
        """Returns the snapshot of a run that waited, its calls started again; None where it begins at the start."""
        if self._dumps is None:
            return None
        dump: Dump | None = await asyncio.to_thread(self._dumps.load, self._run_id, self._script.digest)
        if dump is None:
            return None
        try:
            snapshot = await self._load(dump.state)
            if sorted(snapshot.pending_call_ids) != sorted(dump.progress.pending.keys() & {*snapshot.pending_call_ids}):
                raise RuntimeError("it waits for calls that were not written down")
        except (self._monty.MontyError, RuntimeError, AttributeError, zlib.error) as fault:
            _log.warning("The dump of the run %s cannot be used (%s): it is replayed.", self._run_id, fault)
            self._session = None
            await self._worker.aclose()
            return None
        self._progress = dump.progress
        for call_id, (word, said) in sorted(dump.progress.pending.items()):
            self._start(call_id, word, said)
        return snapshot

    async def _end(self) -> None:
        """Ends what goes on, worker and calls. A call that is cancelled is stopped by its host."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()
        await self._worker.aclose()
        self._over.cancel()

    # --- what comes out -----------------------------------------------------------------------------------------

    def _budget(self) -> Any:
        return self._monty.ClassInstance(
            _Budget(), lazy_attrs={"total", "cost"}, allowed_methods={"spent", "remaining"}
        )

    def _print(self, _stream: str, text: str) -> None:
        """Takes what is printed; called in a thread of the library's."""
        before = self._progress.said_chars
        self._progress.said_chars += len(text)
        # What comes after the limit was reached is dropped here, before it fills the loop.
        if before <= self._limits.printed_chars:
            self._loop.call_soon_threadsafe(self._printed, text)

    def _printed(self, text: str) -> None:
        if self._progress.said_chars > self._limits.printed_chars:
            if not self._over.done():
                self._over.set_result(None)
            return
        self._words.printed(text)

    def _count_said(self, chars: int) -> None:
        self._progress.said_chars += chars
        if self._progress.said_chars > self._limits.printed_chars:
            raise self._limits.exceeded("printed_chars")

    def _result(self, output: Any) -> Any:
        if len(output) > self._limits.output_bytes:
            raise self._limits.exceeded("output_bytes")
        return msgspec.json.decode(output)

    def _failure(self, fault: Any) -> AgentError:
        """Returns what the sandbox's error means for people."""
        if isinstance(fault, self._monty.MontyCrashedError):
            return self._limits.exceeded("cell_s") if fault.timed_out else _crashed(self._limits, str(fault))
        inner = fault.exception()
        text = str(inner)
        place = self._place(fault)
        match inner:
            case MemoryError():
                return self._limits.exceeded("memory_bytes", place=place)
            case TimeoutError() if "time limit exceeded" in text:
                return self._limits.exceeded("cell_s", place=place)
            case RecursionError():
                return self._limits.exceeded("recursion", place=place)
        if self._progress.fed == len(self._texts) - 1:
            return WorkflowFailed(f"The result is no JSON: {text}. Return text, numbers, lists and dicts.")
        at = f"{place[1]}: " if place else ""
        said = f"{at[:1].upper()}{at[1:]}{type(inner).__name__}: {text}"
        details = {"type": type(inner).__name__, **(place[0] if place else {})}
        return WorkflowFailed(said, details=details)

    def _place(self, fault: Any) -> tuple[dict[str, Any], str] | None:
        """Returns where in the script an error came from: the innermost line that is the script's own."""
        for frame in reversed(fault.traceback()):
            feed = frame.filename.removeprefix("<python-input-").removesuffix(">")
            if feed.isdigit() and 1 <= int(feed) <= len(self._script.cells):
                cell = self._script.cells[int(feed) - 1]
                line = cell.first_line + frame.line - 1
                return {"line": line, "cell": cell.number or None}, cell.place(frame.line)
        return None


class _Budget:
    """Stands for the budget inside the sandbox; every look at it is answered by the host."""


def _crashed(limits: Limits, said: str) -> AgentError:
    if "memory" in said.lower():
        return limits.exceeded("memory_bytes")
    return WorkflowFailed(f"The sandbox's process ended while the script worked: {said}")


def texts_of(script: Script) -> list[str]:
    """Returns the cells' texts as they are fed; the last expression of the last one is kept as the result."""
    texts = [cell.text for cell in script.cells]
    texts[-1] = _with_result(script.cells[-1])
    return texts


def _with_result(cell: Cell) -> str:
    body = parsed(cell).body
    if not body or not isinstance(body[-1], ast.Expr):
        return f"_result = None\n{cell.text}" if not body else f"{cell.text}\n_result = None"
    last = body[-1]
    lines = cell.text.split("\n")
    # Columns are counted in bytes of UTF-8. The end first, so that the beginning stays where it is.
    end = lines[last.end_lineno - 1 if last.end_lineno else 0].encode()
    lines[last.end_lineno - 1 if last.end_lineno else 0] = (
        end[: last.end_col_offset] + b")" + end[last.end_col_offset :]
    ).decode()
    begin = lines[last.lineno - 1].encode()
    lines[last.lineno - 1] = (begin[: last.col_offset] + b"_result = (" + begin[last.col_offset :]).decode()
    return "\n".join(lines)
