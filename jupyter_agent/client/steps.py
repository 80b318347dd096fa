"""`step(fn, …)`: one's own code as a call of a workflow, carried out in this process and recorded at the gateway.

What the workflow has recorded before is asked for once for many steps, and told by key. A new result is on disk before
`step` returns: on this machine's own, from where the gateway takes it behind the code that goes on (see outbox.py), or
the gateway's, where that is elsewhere.
"""

import asyncio
import inspect
import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from ..exceptions import AgentError, InvalidRequest
from ..records import new_id
from ..script import MAX_CALLS
from ..script.key import key_of
from ..script.placed import CallState, UsedResult
from ..script.step import PlacedStep
from .behind import MOST, Behind
from .code import inputs_of, source_of
from .outbox import Outbox, folder_of_steps, is_here, left_behind

if TYPE_CHECKING:
    from .calls import Pass
    from .workflow import Place, Workflow

MAX_ANSWER_BYTES: Final = 500_000
BATCH_BYTES: Final = 600_000
"""What a request may have of steps that were left, of the 1 MiB that a server takes. One step alone is less."""
GOOD_FOR_S: Final = 2.0
"""What is left in the store is asked for anew after that: it may have been deleted meanwhile."""
SETTLED_WITHIN_S: Final = 5.0
"""For so long whoever looks at the calls waits until the gateway knows of the last steps."""
_HINTS: Final = {
    "tuple": "return a list", "set": "return a list", "frozenset": "return a list", "DataFrame":
    'return frame.to_dict("records")', "Series": "return series.to_list()", "ndarray": "return array.tolist()",
    "datetime": "return value.isoformat()", "date": "return value.isoformat()", "bytes": "return text",
}  # fmt: skip


class Steps:
    """The steps of a workflow in this process."""

    def __init__(self, workflow: "Workflow") -> None:
        self._workflow = workflow
        self._pass: Pass | None = None
        self._behind: Behind | None = None
        self._known: set[str] = set()
        self._left: defaultdict[str, list[CallState]] = defaultdict(list)
        self._good_until = 0.0

    async def step(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Returns what `fn(*args, **kwargs)` returns, from the store where the same code was given the same before.

        The code is known by its text, what it closes over and the functions of its own module that it uses; what it is
        given by content: plain values, tables, arrays, files (`Path`). `fn` may be async. Its result has to be plain
        JSON data. A step that raises is not stored. Raises what it raises, and InvalidRequest.
        """
        wf = self._workflow
        source, inputs = source_of(fn), inputs_of(fn, args, kwargs)
        place, its_pass = wf.next_place()
        step = PlacedStep(
            token=new_id("tok"), name=getattr(fn, "__qualname__", type(fn).__name__), source=source, inputs=inputs,
            phase=wf.phase_now, cell=place.cell, position=place.calls - 1,
        )  # fmt: skip
        key = key_of(step.fields)
        wf.add_row(step.token, prompt=step.name, label=step.name, phase=step.phase, cell=step.cell, status="running")
        try:
            if self._pass is not its_pass or not wf.has_entered(place):
                await wf.join(self._begun(its_pass, place))
            state = await self._kept(step, key, its_pass)
            if state is not None:
                wf.end_row(step.token, state, state)
                return json.loads(state.answer or "null")
            began = time.perf_counter()
            value = fn(*args, **kwargs)
            if inspect.isawaitable(value):
                value = await value
            answer, seconds = _json_of(value, step.name), time.perf_counter() - began
            state = await self._stored(replace(step, answer=answer, seconds=seconds), key, its_pass)
            self._known.add(key)
        except BaseException as fault:
            said = fault.message if isinstance(fault, AgentError) else f"{type(fault).__name__}: {fault}"
            wf.fail_row(step.token, said)
            raise
        wf.end_row(step.token, state, state)
        return value

    # --- what there is ------------------------------------------------------------------------------------------

    def wait(self) -> None:
        """Blocks until the gateway knows of the last steps, and why they were made, for a while at most."""
        behind = self._behind
        if behind is None or behind.is_told or self._workflow.client.is_here():
            return
        with suppress(AgentError, TimeoutError):
            self._workflow.client.wait(_in_time(behind))

    async def _begun(self, its_pass: "Pass", place: "Place") -> None:
        """Asks what is stored, at the first step of a pass and when a cell has let go of what it had claimed."""
        await self._workflow.entered(its_pass, place)
        if self._pass is not its_pass:
            if self._behind is not None:
                await self._behind.close()
            await self._tell_what_was_left()
            its_pass.behind = self._behind = self._workflow.client.told_behind(
                Behind(
                    its_pass, self._workflow.client.threads, told=self._told,
                    open_box=lambda: Outbox(folder_of_steps(), its_pass.workflow_run_id),
                )
            )  # fmt: skip
        await self._look(its_pass)
        self._pass = its_pass

    async def _look(self, its_pass: "Pass") -> None:
        self._known, left = await its_pass.stored_steps()
        self._left.clear()
        for state in left:
            self._left[str(state.key)].append(state)
        self._good_until = time.monotonic() + GOOD_FOR_S

    async def _kept(self, step: PlacedStep, key: str, its_pass: "Pass") -> CallState | None:
        """Returns a stored result of this step that the pass has not claimed; None where there is none."""
        if key not in self._known:
            return None
        if time.monotonic() > self._good_until:
            await self._workflow.join(self._look(its_pass))
        if self._behind is not None and (left := self._left[key]):
            state = left.pop(0)
            self._behind.use(UsedResult(call_id=str(state.call_id), token=step.token, cell=step.cell))
            return state
        asked: CallState = await self._workflow.join(its_pass.step(step))
        return asked if asked.status == "hit" else None

    # --- what is made -------------------------------------------------------------------------------------------

    async def _stored(self, step: PlacedStep, key: str, its_pass: "Pass") -> CallState:
        """Returns the state of a step whose result is on disk: here, or at the gateway."""
        wf, behind = self._workflow, self._behind
        # What may be refused is not told behind: so many calls at most are in a pass.
        if behind is not None and behind.may_store and wf.made <= MAX_CALLS and is_here(wf.client.url):
            try:
                behind.store(step)
            except OSError:
                behind.may_store = False
            else:
                # Others get their turn, as they do while a gateway is asked.
                await asyncio.sleep(0)
                return CallState(
                    status="done", key=key, answer=step.answer, tries=1, tokens=0, cost=0.0, seconds=step.seconds,
                    model="",
                )  # fmt: skip
        state: CallState = await wf.join(its_pass.step(step))
        return state

    def _told(self, step: PlacedStep, said: CallState | AgentError) -> None:
        """Hears what became of a step that was told behind."""
        if isinstance(said, CallState):
            self._workflow.end_row(step.token, said, said)
        else:
            self._known.discard(key_of(step.fields))
            self._workflow.fail_row(step.token, f"Its result was not stored: {said.message}")

    async def _tell_what_was_left(self) -> None:
        """Tells what kernels that were killed had still to tell."""
        client = self._workflow.client
        if not is_here(client.url):
            return
        for left in left_behind(folder_of_steps()):
            path = f"workflow-runs/{quote(left.workflow_run_id or '', safe='')}"
            try:
                if left.workflow_run_id is not None and left.steps:
                    # Another gateway of this machine does not know the pass, and is not told what it made.
                    await client.request("GET", path)
                    for batch in _batches(left.steps):
                        await client.request("POST", f"{path}/steps", body={"steps": batch}, may_repeat=True)
                left.remove()
            except AgentError:
                if left.is_old:
                    left.remove()


def _batches(steps: Sequence[PlacedStep]) -> Iterator[list[PlacedStep]]:
    """Yields steps in order, together as many as a request may have."""
    batch: list[PlacedStep] = []
    size = 0
    for step in steps:
        size += (its_size := len(msgspec.json.encode(step)))
        if batch and (len(batch) == MOST or size > BATCH_BYTES):
            yield batch
            batch, size = [], its_size
        batch.append(step)
    if batch:
        yield batch


async def _in_time(behind: Behind) -> None:
    async with asyncio.timeout(SETTLED_WITHIN_S):
        await behind.all_told()


def _json_of(value: Any, name: str) -> str:
    """Returns a step's result as JSON. Raises InvalidRequest that names what is none."""
    _check(value, "", name)
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if len(text.encode(errors="replace")) > MAX_ANSWER_BYTES:
        raise InvalidRequest(
            f"The step {name!r} returned {len(text):,} characters of JSON, {MAX_ANSWER_BYTES:,} bytes are the most: "
            "write what is large to a file, and return its name. Nothing was stored."
        )
    return text


def _check(value: Any, at: str, name: str) -> None:
    kind = type(value)
    if kind in (type(None), bool, int, str):
        return
    if kind is float:
        if math.isfinite(value):
            return
        raise _refused(name, at, f"the float {value}", "return None for it")
    if kind is list:
        for place, item in enumerate(value):
            _check(item, f"{at}[{place}]", name)
        return
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise _refused(name, at, f"the key {key!r} ({type(key).__name__})", "name things by text")
            _check(item, f"{at}[{key!r}]", name)
        return
    is_scalar = (
        kind.__module__.partition(".")[0] == "numpy" and hasattr(value, "item") and not getattr(value, "shape", 1)
    )
    hint = (
        "return value.item()" if is_scalar else _HINTS.get(kind.__name__, "return plain text, numbers, lists and dicts")
    )
    raise _refused(name, at, f"a {kind.__module__}.{kind.__qualname__}".replace("builtins.", ""), hint)


def _refused(name: str, at: str, what: str, hint: str) -> InvalidRequest:
    return InvalidRequest(
        f"The step {name!r} returned what is no JSON: result{at} is {what}; {hint}. Nothing was stored.",
        details={"at": f"result{at}"},
    )
