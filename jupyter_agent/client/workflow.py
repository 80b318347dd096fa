"""A workflow in this process: the words over the gateway, what became of each call, and why."""

import asyncio
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec
from msgspec import Struct

from ..exceptions import AgentError, InvalidRequest, NotFound, fault_named
from ..records import clean, new_id
from ..script import AgentCall, Words
from ..script.key import Difference
from ..script.placed import CallState, PlacedCall
from .calls import Pass
from .client import Client
from .rows import Rows
from .session import session
from .shell import current_cell, kernel_id, kernel_shell

PROMPT_CHARS: Final = 60
TICK_S: Final = 0.2
_is_name: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}").fullmatch
ADVICE: Final = {
    "unchanged": "nothing that determines its answer has changed",
    "first time": "there is no earlier call like it",
    "one more of the same": "all stored results of this call are claimed already in this pass",
    "in flight": "the same call was still running, and was joined",
    "fresh": "it was told fresh=True",
}


class CallRow(Struct, frozen=True, kw_only=True):
    """A call of this pass, as it stands.

    `status` is waiting, running, asking (it waits for a person), done or failed; `reused` says whether its answer came
    from the store, None until that
    is known, and `why` says why or why not. `tokens` and `cost` were spent by it now, `saved_tokens` and `saved_cost`
    when it first ran; None where unknown.
    """

    number: int
    prompt: str
    status: str = "waiting"
    key: str | None = None
    label: str | None = None
    phase: str | None = None
    cell: str | None = None
    reused: bool | None = None
    why: str | None = None
    difference: Difference | None = None
    model: str | None = None
    run_id: str | None = None
    tries: int = 0
    tokens: int | None = None
    cost: float | None = None
    saved_tokens: int | None = None
    saved_cost: float | None = None
    seconds: float | None = None
    answer: str | None = None
    error: str | None = None

    @property
    def name(self) -> str:
        """What people call it: its label, or the beginning of its prompt."""
        return self.label or shortened(self.prompt)


class Spent:
    """What this pass has spent, live."""

    def __init__(self, rows: Callable[[], list[CallRow]]) -> None:
        self._rows = rows

    @property
    def total(self) -> None:
        """There is no limit over the whole workflow here; a call's own budget holds."""

    def spent(self) -> int:
        return sum(row.tokens or 0 for row in self._rows())

    def remaining(self) -> float:
        return float("inf")

    @property
    def cost(self) -> float | None:
        costs = [row.cost for row in self._rows() if not row.reused and row.status == "done"]
        return None if any(cost is None for cost in costs) else float(sum(cost or 0.0 for cost in costs))

    def __repr__(self) -> str:
        return f"<{self.spent():,} tokens spent, no limit>"


class Defaults(Struct, frozen=True, kw_only=True):
    """What all calls of a workflow are told unless they say otherwise."""

    model: str | None = None
    settings: Mapping[str, Any] = msgspec.field(default_factory=dict)
    instructions: str | None = None
    script: Any = None


class Place(Struct, kw_only=True):
    """A cell of this pass: which execution of it this is, and how many calls that has made."""

    cell: str
    execution_count: int | None
    is_again: bool
    calls: int = 0


class Workflow:
    """A workflow by its name: its words, and what its calls of this pass were answered.

    `await wf.agent(…)`, `wf.ask`, `wf.gate`, `wf.workflow`, `wf.parallel`, `wf.pipeline`, `wf.phase`, `wf.log` are its
    words, in notebooks and scripts.
    """

    def __init__(self, client: Client, name: str) -> None:
        if not _is_name(name):
            raise InvalidRequest(f"{name!r} is no name of a workflow: use letters, digits, - _ and . (100 at most).")
        self.name = name
        self.defaults = Defaults()
        self.said: list[str] = []
        self._given: dict[str, Any] = {}
        self._client = client
        self._pass: Pass | None = None
        self._rows: dict[str, CallRow] = {}
        self._count = self._pending = 0
        self._ticker: asyncio.Task[None] | None = None
        self._places: dict[str, Place] = {}
        self._releases: dict[tuple[str, int | None], asyncio.Task[None]] = {}
        self._cells: dict[str, str] = {}
        self._watchers: list[Callable[[], None]] = []
        self._words = words = Words(KernelHost(self))
        self.agent, self.parallel, self.pipeline = words.agent, words.parallel, words.pipeline
        self.ask, self.gate, self.workflow = words.ask, words.gate, words.workflow
        self.phase, self.log = words.phase, words.log

    def words(self) -> dict[str, Any]:
        """Returns the words by name, for a namespace."""
        return self._words.namespace()

    # --- what there is --------------------------------------------------------------------------------------

    @property
    def args(self) -> Mapping[str, Any]:
        """The arguments, read-only."""
        return MappingProxyType(self._given)

    def take_args(self, args: Mapping[str, Any]) -> None:
        """Replaces the arguments. Words that cells have already keep those that they were given."""
        self._given = dict(args)

    @property
    def budget(self) -> Spent:
        return Spent(lambda: list(self._rows.values()))

    @property
    def calls(self) -> Rows[CallRow]:
        """The calls of this pass in the order in which they were made; `.df` has a row a call."""
        return Rows.of("calls", list(self._rows.values()))

    def explain(self, call: CallRow | str) -> str:
        """Says in a sentence why a call was or was not answered from the store; a call is named by its label, its key
        or the beginning of its prompt. Raises InvalidRequest where there is none."""
        row = call if isinstance(call, CallRow) else self._named(call)
        if row.reused is None:
            return f"{row.name!r} is {row.status}: it is not known yet whether it is reused."
        what = "was answered from the store" if row.reused else "ran live"
        if row.difference is None:
            return f"{row.name!r} {what}: {ADVICE.get(row.why or '', row.why or 'no reason is known')}."
        apart = f"its {row.difference.field} was {row.difference.was!r} and is {row.difference.now!r}"
        return f"{row.name!r} {what}: compared with the nearest earlier call, {apart}."

    def _named(self, name: str) -> CallRow:
        rows = list(self._rows.values())
        found = [row for row in rows if name in (row.label, row.key) or row.prompt.startswith(name)]
        if not found:
            labels = ", ".join(dict.fromkeys(row.name for row in rows)) or "none yet"
            raise InvalidRequest(f"This pass has no call {name!r}. Its calls are: {labels}.")
        return found[-1]

    def __repr__(self) -> str:
        rows = self._rows.values()
        reused = sum(1 for row in rows if row.reused)
        return f"<Workflow {self.name!r}: {len(rows)} calls in this pass, {reused} from the store>"

    # --- passes ---------------------------------------------------------------------------------------------

    def new_pass(self) -> None:
        """Begins a new pass: every result can be claimed again, by whatever cell comes first."""
        self._pass = None
        self._rows.clear()
        self._places.clear()
        self._releases.clear()
        self._told()

    def forget(self, label: str | None = None) -> int:
        """Deletes the stored results of this workflow, or of the calls with this label; returns how many. Their calls
        run live the next time."""
        path = f"workflows/{self.name}/results"
        try:
            return int(self._client.wait(self._client.request("DELETE", path, query={"label": label}))["count"])
        except NotFound:
            return 0

    def save(self, path: str | Path | None = None) -> Path:
        """Writes the cells of this workflow as a script, in the order of their first execution, and returns where."""
        if not self._cells:
            raise InvalidRequest(f"No cell that begins with %%workflow {self.name} was executed yet: nothing to save.")
        target = Path(path) if path is not None else Path(f"{self.name}.py")
        cells = "\n\n".join(f"# %%\n{source.rstrip()}" for source in self._cells.values())
        target.write_text(f"meta = {{'name': {self.name!r}}}\n\n{cells}\n", encoding="utf-8")
        return target

    def begin(self, source: str) -> None:
        """Says that a cell of this workflow is executed: what its earlier execution claimed is let go of. Blocks.

        Raises GatewayNotFound and what else the gateway refuses it for.
        """
        place = self._place()
        self._cells[place.cell] = source
        self._client.wait(self._entered(self._opened(), place))

    def _opened(self) -> Pass:
        if self._pass is None:
            opening = {
                "workflow": self.name, "args": clean(dict(self._given)), "kernelId": kernel_id(),
                "workflowRunId": new_id("wfr"),
            }  # fmt: skip
            self._pass = Pass(self._client, opening, on_news=self._news)
        return self._pass

    def _place(self) -> Place:
        """Returns where the cell that is executed stands; where the front end sends no id, its position in the pass is
        its name. A cell that is executed again has its rows no more."""
        cell = current_cell()
        count = cell.execution_count if cell is not None else None
        name = cell.cell_id if cell is not None else None
        if name is None:
            same = (place.cell for place in self._places.values() if place.execution_count == count)
            name = next(same, f"#{len(self._places) + 1}")
        before = self._places.get(name)
        if before is not None and before.execution_count == count:
            return before
        for token in [token for token, row in self._rows.items() if row.cell == name]:
            del self._rows[token]
        place = self._places[name] = Place(cell=name, execution_count=count, is_again=before is not None)
        return place

    async def _entered(self, its_pass: Pass, place: Place) -> None:
        """Lets go of what an earlier execution of the cell claimed, once, before anything is claimed anew."""
        if not place.is_again:
            await its_pass.open()
            return
        key = (place.cell, place.execution_count)
        if (release := self._releases.get(key)) is None or (release.done() and release.exception() is not None):
            release = self._releases[key] = asyncio.create_task(its_pass.release(place.cell))
        await asyncio.shield(release)

    # --- calls ----------------------------------------------------------------------------------------------

    async def carry(self, call: AgentCall) -> Any:
        """Returns a call's answer. Raises its failure."""
        state = await self._carried(call)
        if state.status == "hit" and call.side_effects and _wants_again(call):
            state = await self._carried(msgspec.structs.replace(call, fresh=True))
        if state.status == "failed":
            name = call.label or shortened(call.prompt)
            raise fault_named(state.code or "run_failed", f"The call {name!r} failed: {state.message}")
        return state.answer if call.schema is None else msgspec.json.decode(state.answer or "null")

    async def _carried(self, call: AgentCall) -> CallState:
        place, its_pass = self._place(), self._opened()
        placed = PlacedCall(
            **{name: getattr(call, name) for name in AgentCall.__struct_fields__} | self._defaults_of(call),
            token=new_id("tok"), cell=place.cell, position=place.calls, origin=current_cell(),
        )  # fmt: skip
        place.calls += 1
        token = str(placed.token)
        self._count += 1
        self._rows[token] = CallRow(
            number=self._count, prompt=call.prompt, label=call.label, phase=call.phase, cell=place.cell,
            model=placed.model,
        )  # fmt: skip
        self._told()
        self._pending += 1
        self._tick()
        try:
            states: tuple[CallState, CallState] = await self._client.join(self._answered(its_pass, place, placed))
        except BaseException as fault:
            said = fault.message if isinstance(fault, AgentError) else "It was interrupted."
            self._change(token, status="failed", error=said)
            raise
        finally:
            self._pending -= 1
        self._change(token, **_outcome(*states))
        return states[1]

    def _tick(self) -> None:
        """Has the loop look around while calls are awaited: a signal that cancels the cell does not wake it."""

        async def tick() -> None:
            while self._pending:  # noqa: ASYNC110 - an event would not wake it either
                await asyncio.sleep(TICK_S)

        ticker = self._ticker
        if ticker is None or ticker.done() or ticker.get_loop() is not asyncio.get_running_loop():
            self._ticker = asyncio.get_running_loop().create_task(tick())

    def _defaults_of(self, call: AgentCall) -> dict[str, Any]:
        """Returns what the workflow says for its calls; what a call says itself wins."""
        given = self.defaults
        if call.kind != "agent":
            return {}
        return {
            "model": call.model or given.model, "settings": dict(given.settings), "instructions": given.instructions,
            "script": given.script,
        }  # fmt: skip

    async def _answered(self, its_pass: Pass, place: Place, placed: PlacedCall) -> tuple[CallState, CallState]:
        await self._entered(its_pass, place)
        return await its_pass.answer(placed)

    def _news(self, token: str, state: CallState) -> None:
        if state.status == "missed":
            self._change(token, reused=False, why=state.why, difference=state.difference, key=state.key)
        elif state.status == "running":
            status = "running" if state.waits_for is None else "asking"
            self._change(token, status=status, run_id=state.run_id, tries=state.tries)

    def _change(self, token: str, **changed: Any) -> None:
        # The cell may have been run again since, and have let go of its calls.
        if (row := self._rows.get(token)) is not None:
            self._rows[token] = msgspec.structs.replace(row, **changed)
            self._told()

    # --- watching -------------------------------------------------------------------------------------------

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Calls the watcher, from any thread, when something changes; returns what ends that."""
        self._watchers.append(watcher)

        def end() -> None:
            with suppress(ValueError):
                self._watchers.remove(watcher)

        return end

    def tell(self, line: str) -> None:
        """Keeps what the script says to people."""
        self.said.append(line)
        self._told()

    def _told(self) -> None:
        for watcher in tuple(self._watchers):
            watcher()


class KernelHost:
    """The words' host in this process."""

    def __init__(self, workflow: Workflow) -> None:
        self._workflow = workflow

    @property
    def args(self) -> Mapping[str, Any]:
        return self._workflow.args

    @property
    def budget(self) -> Spent:
        return self._workflow.budget

    async def agent(self, call: AgentCall) -> Any:
        return await self._workflow.carry(call)

    def phase(self, title: str) -> None:
        self._workflow.tell(f"Phase {title}")

    def log(self, message: str) -> None:
        self._workflow.tell(message)


def _outcome(claimed: CallState, ended: CallState) -> dict[str, Any]:
    """Returns what a row says of a call that is over. One that was joined in flight is paid for by who started it."""
    reused = ended.status == "hit" or (claimed.status == "running" and ended.call_id == claimed.call_id)
    spent = (0, 0.0) if reused else (ended.tokens, ended.cost)
    saved = (ended.tokens, ended.cost) if reused else (0, 0.0)
    return {
        "status": "failed" if ended.status == "failed" else "done", "reused": reused, "why": claimed.why,
        "difference": claimed.difference, "key": claimed.key or ended.key, "model": ended.model or claimed.model,
        "run_id": ended.run_id, "tries": ended.tries, "tokens": spent[0], "cost": spent[1], "saved_tokens": saved[0],
        "saved_cost": saved[1], "seconds": ended.seconds, "answer": ended.answer, "error": ended.message,
    }  # fmt: skip


def _wants_again(call: AgentCall) -> bool:
    """Asks the person whether a call that changes the world is to be made again; where nobody can be asked, what was
    recorded stands."""
    shell = kernel_shell()
    can_ask = bool(getattr(shell.kernel, "_allow_stdin", False)) if shell is not None else sys.stdin.isatty()
    if not can_ask:
        return False
    name = call.label or shortened(call.prompt)
    said = input(f"{name!r} has side effects and was carried out before. Use what was recorded? [Y/n] ")
    return said.strip().lower() in ("n", "no")


def shortened(text: str) -> str:
    """Returns the beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= PROMPT_CHARS else f"{line[: PROMPT_CHARS - 1]}…"


def workflow(
    name: str,
    *,
    args: Mapping[str, Any] | None = None,
    model: str | None = None,
    settings: Mapping[str, Any] | None = None,
    instructions: str | None = None,
    script: Any = None,
) -> Workflow:
    """Returns the workflow of this name in this process, the same one each time: a pass lasts until the process ends or
    `wf.new_pass()`. What is given here holds for all of its calls from now on; what is not stays as it is.

    Raises InvalidRequest for what is no name.
    """
    here = session()
    known: Workflow | None = here.workflows.get(name)
    if known is None:
        known = here.workflows[name] = Workflow(here.client, name)
    if args is not None:
        known.take_args(args)
    given = {"model": model, "settings": settings, "instructions": instructions, "script": script}
    known.defaults = msgspec.structs.replace(
        known.defaults, **{key: value for key, value in given.items() if value is not None}
    )
    return known
