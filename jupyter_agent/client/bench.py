"""Carries out what runs ask of this process: functions made tools, and code for the cell that waits.

Where a cell (or a script's main thread) waits for a run the work is done there, so that it touches live objects
safely; else a function goes to a thread of its own, and code is refused. A call that comes twice acts once.
"""

import asyncio
import json
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..exceptions import AgentError
from ..protocol.commands import AnyCommand, ClientToolProgress, ClientToolResult
from ..protocol.control import ClientToolCall, ClientToolCancelled
from .cell import CellAnswer, arun_in_shell, is_async, no_running_loop, run_in_shell
from .shell import kernel_shell
from .tool import ClientTool, result_text

PROGRESS_S = 0.1
KEPT_ANSWERS = 256
RUN_CELL = "run_cell"


class Job:
    """One call. It is carried out once, by whoever takes it first; its answer is kept for a gateway that asks
    again."""

    def __init__(self, call: ClientToolCall, tool: ClientTool[Any, Any] | None, send: Callable[[AnyCommand], None]):
        self.call = call
        self.is_cancelled = False
        self.is_blocking = False
        self.signals_due = 0
        self.answer: CellAnswer | None = None
        self._tool = tool
        self._send = send
        self._lock = threading.Lock()
        self._stop: Callable[[], None] | None = None
        self._said: list[str] = []
        self._timer: threading.Timer | None = None

    # --- carrying it out --------------------------------------------------------------------------------------

    def run(self, *, in_main_thread: bool) -> None:
        """Carries the call out in this thread and sends the answer."""
        self.is_blocking = True
        with self._stoppable(self._interrupt if in_main_thread else None):
            answer = self._carry_out()
        self.finish(answer)

    async def arun(self) -> None:
        """Carries the call out in this coroutine and sends the answer. Cancelling it cancels the call."""
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(self._acarry_out())

        def stop() -> None:
            if self.is_blocking:
                self._interrupt()
            else:
                loop.call_soon_threadsafe(task.cancel)

        with self._stoppable(stop):
            answer = await task
        self.finish(answer)

    @contextmanager
    def _stoppable(self, stop: Callable[[], None] | None) -> Iterator[None]:
        with self._lock:
            self._stop = stop
        try:
            yield
        finally:
            with self._lock:
                self._stop = None

    def _interrupt(self) -> None:
        self.signals_due += 1
        _interrupt_main_thread()

    def _carry_out(self) -> CellAnswer:
        if self.is_cancelled:
            return _INTERRUPTED
        try:
            if self._tool is None:
                return run_in_shell(kernel_shell(), _code(self.call.arguments), self.say)
            value = self._tool(**self._tool.bind(self.call.arguments))
            if asyncio.iscoroutine(value):
                with no_running_loop():
                    value = asyncio.run(value)
            return CellAnswer(result=result_text(value))
        except KeyboardInterrupt:
            return _INTERRUPTED
        except Exception as raised:  # noqa: BLE001 - whatever a user's function raises is the model's answer
            return _raised(raised)

    async def _acarry_out(self) -> CellAnswer:
        if self.is_cancelled:
            return _INTERRUPTED
        try:
            if self._tool is None:
                code = _code(self.call.arguments)
                self.is_blocking = not is_async(kernel_shell(), code)
                return await arun_in_shell(kernel_shell(), code, self.say)
            self.is_blocking = not self._tool.is_async
            value = self._tool(**self._tool.bind(self.call.arguments))
            self.is_blocking = False
            return CellAnswer(result=result_text(await value if asyncio.iscoroutine(value) else value))
        except (KeyboardInterrupt, asyncio.CancelledError):
            return _INTERRUPTED
        except Exception as raised:  # noqa: BLE001 - whatever a user's function raises is the model's answer
            return _raised(raised)
        finally:
            self.is_blocking = False

    def cancel(self) -> None:
        """Stops the call: at once where it runs in the main thread; a thread of its own runs on unheard."""
        with self._lock:
            self.is_cancelled = True
            if self._stop is not None:
                self._stop()

    # --- what it says -----------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Streams output, gathered for a tenth of a second."""
        with self._lock:
            self._said.append(text)
            if self._timer is None:
                self._timer = threading.Timer(PROGRESS_S, self._flush)
                self._timer.daemon = True
                self._timer.start()

    def _flush(self) -> None:
        with self._lock:
            said, self._said = "".join(self._said), []
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        if said:
            self._send(ClientToolProgress(run_id=self.call.run_id, tool_call_id=self.call.tool_call_id, content=said))

    def finish(self, answer: CellAnswer) -> None:
        """Keeps the answer and sends it."""
        self._flush()
        self.answer = answer
        self.send_answer()

    def send_answer(self) -> None:
        if (answer := self.answer) is not None:
            self._send(
                ClientToolResult(
                    run_id=self.call.run_id, tool_call_id=self.call.tool_call_id, result=answer.result,
                    is_error=answer.is_error, mime=answer.mime,
                )
            )  # fmt: skip


_INTERRUPTED = CellAnswer(result="Interrupted before it finished.", is_error=True)
_NOT_WAITING = CellAnswer(
    result="The cell that waited for this run has stopped waiting, so the code was not executed. Try again.",
    is_error=True,
)


def _code(arguments: str) -> str:
    return str(json.loads(arguments)["code"])


def _raised(raised: BaseException) -> CellAnswer:
    text = raised.message if isinstance(raised, AgentError) else f"{type(raised).__name__}: {raised}"
    return CellAnswer(result=result_text(text), is_error=True)


def _interrupt_main_thread() -> None:
    """Raises KeyboardInterrupt in the main thread, out of a sleeping system call too where signals allow it."""
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGINT)
    else:
        import _thread

        _thread.interrupt_main()


class Waiting:
    """A wait of the main thread, which takes jobs while it lasts. `is_interrupted` says that a person pressed
    stop."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.is_interrupted = False
        self.wake = wake
        self.jobs: deque[Job] = deque()
        self._current: Job | None = None
        self._signals_due = 0

    def work(self) -> None:
        """Carries out what has come in. Raises KeyboardInterrupt when a person stops it."""
        while self.jobs and not self.is_interrupted:
            with self._on(self.jobs.popleft()) as job:
                job.run(in_main_thread=True)

    async def awork(self) -> None:
        """The same in a coroutine."""
        while self.jobs and not self.is_interrupted:
            with self._on(self.jobs.popleft()) as job:
                await job.arun()

    @contextmanager
    def _on(self, job: Job) -> Iterator[Job]:
        self._current = job
        try:
            yield job
        except KeyboardInterrupt:
            # The interrupt that cancels a job may come when its code has just ended.
            if self.is_interrupted:
                raise
        finally:
            self._current = None
            self._signals_due += job.signals_due
            if job.answer is None:
                job.finish(_INTERRUPTED)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Tells a person's Ctrl-C or ■ from the interrupt that cancels a job and ends nothing but the job."""
        before = signal.getsignal(signal.SIGINT)

        def interrupted(number: int, frame: Any) -> None:
            job = self._current
            if job is not None and job.signals_due:
                job.signals_due -= 1
                raise KeyboardInterrupt
            if self._signals_due:
                self._signals_due -= 1
                return
            if before is signal.SIG_IGN:
                return
            self.is_interrupted = True
            if (job is not None and job.is_blocking) or not callable(before):
                raise KeyboardInterrupt
            before(number, frame)

        signal.signal(signal.SIGINT, interrupted)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


class Bench:
    """Where calls come in. `waiting` is the main thread's innermost wait."""

    def __init__(self, send: Callable[[AnyCommand], None]) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._jobs: dict[tuple[str, str], Job] = {}
        self._waits: list[Waiting] = []

    def take(self, call: ClientToolCall, tools: dict[str, ClientTool[Any, Any]]) -> None:
        """Takes a call in; called in the transport's loop."""
        key = (call.run_id, call.tool_call_id)
        with self._lock:
            if (known := self._jobs.get(key)) is not None:
                known.send_answer()
                return
            job = self._jobs[key] = Job(call, tools.get(call.name), self._send)
            while len(self._jobs) > KEPT_ANSWERS:
                self._jobs.pop(next(iter(self._jobs)))
            waiting = self._waits[-1] if self._waits else None
            if waiting is not None:
                waiting.jobs.append(job)
        if waiting is not None:
            waiting.wake()
        elif call.name == RUN_CELL and call.name not in tools:
            job.finish(_NOT_WAITING)
        else:
            threading.Thread(
                target=job.run, kwargs={"in_main_thread": False}, name=f"tool {call.name}", daemon=True
            ).start()

    def cancel(self, frame: ClientToolCancelled) -> None:
        with self._lock:
            job = self._jobs.get((frame.run_id, frame.tool_call_id))
        if job is not None and job.answer is None:
            job.cancel()

    @contextmanager
    def waiting(self, wake: Callable[[], None]) -> Iterator[Waiting]:
        """Has the main thread take the jobs while it waits; those that it did not come to are answered as not
        done."""
        wait = Waiting(wake)
        with self._lock:
            self._waits.append(wait)
        try:
            with wait.signals():
                yield wait
        finally:
            with self._lock:
                self._waits.remove(wait)
                left = list(wait.jobs)
            for job in left:
                job.finish(_NOT_WAITING)
