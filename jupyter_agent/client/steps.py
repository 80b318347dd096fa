"""`step(fn, …)`: one's own code as a call of a workflow, carried out in this process and recorded at the gateway.

What the workflow has recorded before is known by its keys, asked for once a pass: a step that was never made costs one
request, the one that stores its result.
"""

import inspect
import json
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from ..exceptions import AgentError, InvalidRequest
from ..records import new_id
from ..script.key import key_of
from ..script.placed import CallState
from ..script.step import PlacedStep
from .code import inputs_of, source_of

if TYPE_CHECKING:
    from .calls import Pass
    from .workflow import Place, Workflow

MAX_ANSWER_BYTES: Final = 500_000
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
        self._known: set[str] = set()

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
        wf.add_row(step.token, prompt=step.name, label=step.name, phase=step.phase, cell=step.cell, status="running")
        try:
            if self._pass is not its_pass:
                self._known = await wf.join(self._keys(its_pass, place))
                self._pass = its_pass
            state = await self._kept(step, its_pass, place)
            if state is not None:
                wf.end_row(step.token, state, state)
                return json.loads(state.answer or "null")
            began = time.perf_counter()
            value = fn(*args, **kwargs)
            if inspect.isawaitable(value):
                value = await value
            answer, seconds = _json_of(value, step.name), time.perf_counter() - began
            state = await wf.join(self._sent(replace(step, answer=answer, seconds=seconds), its_pass, place))
            self._known.add(str(state.key))
        except BaseException as fault:
            said = fault.message if isinstance(fault, AgentError) else f"{type(fault).__name__}: {fault}"
            wf.fail_row(step.token, said)
            raise
        wf.end_row(step.token, state, state)
        return value

    async def _kept(self, step: PlacedStep, its_pass: "Pass", place: "Place") -> CallState | None:
        """Returns a stored result of this step that the pass has not claimed; None where there is none."""
        if key_of(step.fields) not in self._known:
            return None
        state: CallState = await self._workflow.join(self._sent(step, its_pass, place))
        return state if state.status == "hit" else None

    async def _keys(self, its_pass: "Pass", place: "Place") -> set[str]:
        await self._workflow.entered(its_pass, place)
        return await its_pass.step_keys()

    async def _sent(self, step: PlacedStep, its_pass: "Pass", place: "Place") -> CallState:
        await self._workflow.entered(its_pass, place)
        return await its_pass.step(step)


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
