"""A workflow in this process: the words over the gateway, what became of each call, and why."""

import asyncio
import re
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec
from msgspec import Struct

from ..exceptions import AgentError, InvalidRequest, NotFound, RunFailed, fault_named
from ..records import new_id, utc_now
from ..script import AgentCall, Words
from ..script.key import Difference
from ..script.placed import IN_FLIGHT, CallState, PlacedCall
from ..script.plan import WorkflowPlan
from .arguments import plain
from .calls import Pass
from .client import Client
from .export import Export, body_of
from .plan import Plan
from .rows import Rows
from .session import session
from .shell import current_cell, kernel_id, kernel_shell
from .spending import PassBudget, limits_of, phase_budgets_in
from .steps import Steps

PROMPT_CHARS: Final = 60
TICK_S: Final = 0.2
_is_name: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}").fullmatch
_INSIDE: Final = frozenset(
    {
        *("add_row", "begin", "carry", "client", "end_row", "entered", "fail_row", "join", "next_place", "phase_now"),
        *("take_args", "tell", "watch"),
    }
)
ADVICE: Final = {
    "unchanged": "nothing that determines its answer has changed",
    "first time": "there is no earlier call like it",
    "one more of the same": "all stored results of this call are claimed already in this pass",
    IN_FLIGHT: "the same call was still running, and was joined",
    "fresh": "it was told fresh=True",
}


class CallRow(Struct, frozen=True, kw_only=True):
    """A call of this pass, as it stands.

    `status` is queued (not begun), waiting (for a person), running, done or failed; `reused` says whether its answer
    came from the store, None until that is known, and `why` says why or why not. `tokens` and `cost` were
    spent by it now, `saved_tokens` and `saved_cost` when it first ran; None where unknown. `silent_since` is since when
    nothing has come of one that runs, where that is minutes ago.
    """

    number: int
    prompt: str
    status: str = "queued"
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
    started_at: datetime | None = None
    seconds: float | None = None
    silent_since: datetime | None = None
    answer: str | None = None
    error: str | None = None

    @property
    def is_over(self) -> bool:
        return self.status in ("done", "failed")

    @property
    def name(self) -> str:
        """What people call it: its label, or the beginning of its prompt."""
        return self.label or shortened(self.prompt)

    def __repr__(self) -> str:
        spent = f"{self.tokens:,} tokens" if self.tokens is not None else None
        told = [shortened(self.name), self.status, self.why, spent, shortened(self.error) if self.error else None]
        return f"<call {' · '.join(one for one in told if one)}>"


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
    is_stopped: bool = False


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
        self._limits: dict[str, Any] = {}
        self.said: list[str] = []
        self._given: dict[str, Any] = {}
        self._client = client
        self._pass: Pass | None = None
        self._rows: dict[str, CallRow] = {}
        self._count = self._pending = self.made = 0
        self._flying: dict[str, Future[Any]] = {}
        self._ticker: asyncio.Task[None] | None = None
        self._places: dict[str, Place] = {}
        self._releases: dict[tuple[str, int | None], asyncio.Task[None]] = {}
        self._cells: dict[str, str] = {}
        self._models: dict[str, str | None] = {}
        self._made: dict[str, PlacedCall] = {}
        self._watchers: list[Callable[[], None]] = []
        self._words = words = Words(KernelHost(self))
        self.agent, self.parallel, self.pipeline = words.agent, words.parallel, words.pipeline
        self.ask, self.gate, self.workflow = words.ask, words.gate, words.workflow
        self.phase, self.log = words.phase, words.log
        self._steps = Steps(self)
        self.step = self._steps.step

    def words(self) -> dict[str, Any]:
        """Returns the words by name, for a namespace. `step` is there in kernels only."""
        return self._words.namespace() | {"step": self.step}

    # --- what there is --------------------------------------------------------------------------------------

    @property
    def client(self) -> Client:
        """What talks to the gateway for it."""
        return self._client

    @property
    def args(self) -> Mapping[str, Any]:
        """The arguments, read-only."""
        return MappingProxyType(self._given)

    def take_args(self, args: Mapping[str, Any]) -> None:
        """Replaces the arguments, plain data. Words that cells have already keep those that they were given. Raises
        InvalidRequest."""
        self._given = plain(args)

    @property
    def budget(self) -> PassBudget:
        """What this pass may spend and has spent, in tokens; asks the server at each look."""
        return PassBudget(lambda: self._client.wait(self._opened().budget()))

    def limit(self, budget: Mapping[str, Any] | int) -> None:
        """Gives this workflow a budget: tokens, or `{"tokens": …, "cost": …}` with None for no limit. It holds for this
        pass from now on, and for new ones. Raises InvalidRequest."""
        self._limits = {**self._limits, **limits_of(budget)}
        if self._pass is not None:
            self._client.wait(self._pass.set_budget(self._limits))

    @property
    def calls(self) -> Rows[CallRow]:
        """The calls of this pass in the order in which they were made; `.df` has a row a call."""
        self.settle()
        return self.calls_now

    @property
    def calls_now(self) -> Rows[CallRow]:
        """The same at once: why the last steps were made may not be known yet."""
        return Rows.of("calls", list(self._rows.values()))

    def settle(self) -> None:
        """Blocks until the gateway knows of all steps that were made, for some seconds at most."""
        self._steps.wait()

    def explain(self, call: CallRow | str) -> str:
        """Says in a sentence why a call was or was not answered from the store; a call is named by its label, its key
        or the beginning of its prompt. Raises InvalidRequest where there is none."""
        self.settle()
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

    def __dir__(self) -> list[str]:
        """What Tab offers: what people use, without what our own cells, views and steps do."""
        return sorted({*super().__dir__()} - _INSIDE)

    def __repr__(self) -> str:
        rows = self._rows.values()
        reused = sum(1 for row in rows if row.reused)
        return f"<Workflow {self.name!r}: {len(rows)} calls in this pass, {reused} from the store>"

    # --- passes ---------------------------------------------------------------------------------------------

    def new_pass(self) -> None:
        """Begins a new pass: every result can be claimed again, by whatever cell comes first."""
        self._pass = None
        self.made = 0
        self._rows.clear()
        self._made.clear()
        self._places.clear()
        self._releases.clear()
        self._told()

    def forget(self, label: str | None = None) -> int:
        """Deletes the stored results of this workflow, or of the calls with this label; returns how many. Their calls
        run live the next time."""
        return int(self._client.wait(self._forgotten(label)))

    async def _forgotten(self, label: str | None) -> int:
        try:
            if self._pass is not None:
                await self._pass.settle()
            path = f"workflows/{self.name}/results"
            return int((await self._client.request("DELETE", path, query={"label": label}))["count"])
        except NotFound:
            return 0
        finally:
            if self._pass is not None:
                self._pass.forget_ahead()

    def save(self, path: str | Path | None = None) -> Path:
        """Writes the cells of this workflow as a script, in the order of their first execution, and returns where."""
        if not self._cells:
            raise InvalidRequest(f"No cell that begins with %%workflow {self.name} was executed yet: nothing to save.")
        target = Path(path) if path is not None else Path(f"{self.name}.py")
        cells = "\n\n".join(f"# %%\n{source.rstrip()}" for source in self._cells.values())
        says_meta = re.search(r"^meta\s*[:=]", cells, re.MULTILINE) is not None
        head = "" if says_meta else f"meta = {{'name': {self.name!r}}}\n\n"
        target.write_text(f"{head}{cells}\n", encoding="utf-8")
        return target

    def export(self, *, replace: bool = False) -> Export:
        """Writes the cells of this workflow as a script of the server's workspace, where all of them stay in the
        portable language; else says which places do not, and writes nothing. `.df` of what it returns has them.

        A person approves the script before it runs. Its calls have the keys that they have here, so it begins with what
        was answered here. A file with another text is written over with `replace=True` only. Raises Conflict, and
        InvalidRequest where there is nothing to write.
        """
        if not self._cells:
            raise InvalidRequest(
                f"No cell that begins with %%workflow {self.name} was executed yet: there is no script."
            )
        if self.defaults.script is not None:
            raise InvalidRequest("A workflow with script=, which plays a model, is for trials: it is not exported.")
        models = dict.fromkeys(str(self._models.get(cell)) for cell in self._cells)
        if len(models) > 1:
            raise InvalidRequest(
                f"The cells name different models ({', '.join(models)}), and a script has one for all of its calls: "
                "execute them again with the same -m, or say model= in the calls that differ."
            )
        body = body_of(self._cells, self.defaults, replace=replace)
        told = self._client.wait(self._client.request("POST", f"workflows/{self.name}/export", body=body))
        return msgspec.convert(told, Export)

    def plan(self, args: Mapping[str, Any] | None = None) -> Plan:
        """Says what it would take to run this workflow again in a new pass: what comes from the store, what runs live
        at least, and what that takes, from what calls like them took. Runs, claims and spends nothing.

        It goes by the calls that were made in this pass; before any, by those of the last pass. Steps spend nothing and
        are not in it. Its `unknown` says what cannot be foreseen.
        """
        made = [call for token, call in self._made.items() if token in self._rows]
        body: dict[str, Any] = {
            "args": self._given if args is None else plain(args),
            "basis": "lastPass",
            "calls": [],
        }
        if made and args is None:
            body |= {"basis": "calls", "calls": [msgspec.structs.replace(call, token=None) for call in made]}
        told = self._client.wait(self._client.request("POST", f"workflows/{self.name}/plan", body=body))
        return Plan(msgspec.convert(told, WorkflowPlan))

    def begin(self, source: str) -> str:
        """Says that a cell of this workflow is executed: what its earlier execution claimed is let go of. Blocks.
        Returns how this pass names the cell.

        Raises GatewayNotFound and what else the gateway refuses it for.
        """
        self._words.phase_budgets |= phase_budgets_in(source)
        place = self._place()
        self._cells[place.cell], self._models[place.cell] = source, self.defaults.model
        self._client.wait(self.entered(self._opened(), place))
        return place.cell

    def stop(self, cell: str | None = None) -> int:
        """Stops the calls that are not over, with their runs, those of a cell or all; returns how many. Each fails.
        What their cells call after that in the same execution is refused. It may be called in any thread."""
        for place in tuple(self._places.values()):
            # Where there are no cells nothing begins anew: there it would be for ever.
            place.is_stopped |= cell in (None, place.cell) and place.execution_count is not None
        flying = [(self._rows.get(token), future) for token, future in tuple(self._flying.items())]
        return sum(future.cancel() for row, future in flying if row is not None and cell in (None, row.cell))

    def _opened(self) -> Pass:
        if self._pass is None:
            opening = {
                "workflow": self.name, "args": self._given, "kernelId": kernel_id(),
                "workflowRunId": new_id("wfr"), "budget": dict(self._limits),
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
            self._made.pop(token, None)
        place = self._places[name] = Place(cell=name, execution_count=count, is_again=before is not None)
        return place

    def has_entered(self, place: Place) -> bool:
        """Tells whether what an earlier execution of the cell claimed is let go of."""
        if not place.is_again:
            return True
        release = self._releases.get((place.cell, place.execution_count))
        return release is not None and release.done() and not release.cancelled() and release.exception() is None

    async def entered(self, its_pass: Pass, place: Place) -> None:
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
            message = f"The call {name!r} failed: {state.message}"
            raise fault_named(state.code or "run_failed", message, state.details)
        return state.answer if call.schema is None else msgspec.json.decode(state.answer or "null")

    def next_place(self) -> tuple[Place, Pass]:
        """Counts another call where the code stands that is executed, and returns that place and the pass."""
        place, its_pass = self._place(), self._opened()
        place.calls += 1
        self.made += 1
        return place, its_pass

    @property
    def phase_now(self) -> str | None:
        """The phase that calls belong to that name none."""
        return self._words.phase_now

    async def join(self, work: Any) -> Any:
        """Awaits work of the client from the loop of whoever calls."""
        self._pending += 1
        self._tick()
        try:
            return await self._client.join(work)
        finally:
            self._pending -= 1

    def add_row(self, token: str, **told: Any) -> None:
        """Begins the row of a call."""
        self._count += 1
        self._rows[token] = CallRow(number=self._count, **told)
        self._told()

    def end_row(self, token: str, claimed: CallState, ended: CallState) -> None:
        """Says in a call's row how it ended."""
        self._change(token, **_outcome(claimed, ended))

    def fail_row(self, token: str, said: str) -> None:
        """Says in a call's row why it failed."""
        self._change(token, status="failed", error=said)

    async def _carried(self, call: AgentCall) -> CallState:
        place, its_pass = self.next_place()
        placed = PlacedCall(
            **{name: getattr(call, name) for name in AgentCall.__struct_fields__} | self._defaults_of(call),
            token=new_id("tok"), cell=place.cell, position=place.calls - 1, origin=current_cell(),
        )  # fmt: skip
        token = str(placed.token)
        self._made[token] = placed
        self.add_row(token, prompt=call.prompt, label=call.label, phase=call.phase, cell=place.cell, model=placed.model)
        try:
            states = await self._unless_stopped(token, its_pass, place, placed)
        except BaseException as fault:
            self.fail_row(token, fault.message if isinstance(fault, AgentError) else "It was interrupted.")
            if isinstance(fault, asyncio.CancelledError):
                # IPython asks a fault how it is shown. Its type stays: time-outs look for this very one.
                fault._render_traceback_ = _said_when_interrupted  # type: ignore[attr-defined]
            raise
        self.end_row(token, *states)
        return states[1]

    async def _unless_stopped(
        self, token: str, its_pass: Pass, place: Place, placed: PlacedCall
    ) -> tuple[CallState, CallState]:
        """Returns how claiming went and how the call ended. Raises RunFailed where a person stopped it, or stopped the
        cell before."""
        if place.is_stopped:
            raise RunFailed("It was not started: the cell was stopped.", details={"code": "interrupted"})
        future = self._flying[token] = self._client.submit(self._answered(its_pass, place, placed))
        self._pending += 1
        self._tick()
        try:
            states: tuple[CallState, CallState] = await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not future.cancelled() or (task is not None and task.cancelling()):
                raise
            raise RunFailed("It was stopped.", details={"code": "interrupted"}) from None
        finally:
            del self._flying[token]
            self._pending -= 1
        return states

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
        await self.entered(its_pass, place)
        return await its_pass.answer(placed)

    def _news(self, token: str, state: CallState) -> None:
        if state.status == "missed":
            self._change(token, reused=False, why=state.why, difference=state.difference, key=state.key)
        elif state.status == "running":
            status = "running" if state.waits_for is None else "waiting"
            row = self._rows.get(token)
            began = row.started_at if row is not None else None
            self._change(
                token, status=status, run_id=state.run_id, tries=state.tries, started_at=began or utc_now(),
                silent_since=state.silent_since,
            )  # fmt: skip
            if state.why is not None and state.why != IN_FLIGHT:
                # Its start says at once why it is not reused.
                self._change(token, reused=False, why=state.why, difference=state.difference, key=state.key)

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
    def budget(self) -> PassBudget:
        return self._workflow.budget

    async def agent(self, call: AgentCall) -> Any:
        return await self._workflow.carry(call)

    def phase(self, title: str) -> None:
        self._workflow.tell(f"Phase {title}")

    def log(self, message: str) -> None:
        self._workflow.tell(message)


def _outcome(claimed: CallState, ended: CallState) -> dict[str, Any]:
    """Returns what a row says of a call that is over. One that was joined in flight is paid for by who started it."""
    reused = ended.status == "hit" or (claimed.why == IN_FLIGHT and ended.call_id == claimed.call_id)
    spent = (0, 0.0) if reused else (ended.tokens, ended.cost)
    saved = (ended.tokens, ended.cost) if reused else (0, 0.0)
    return {
        "status": "failed" if ended.status == "failed" else "done", "reused": reused, "why": claimed.why,
        "difference": claimed.difference, "key": claimed.key or ended.key,
        "model": ended.model or claimed.model or None, "run_id": ended.run_id, "tries": ended.tries,
        "tokens": spent[0], "cost": spent[1], "saved_tokens": saved[0], "saved_cost": saved[1],
        "seconds": ended.seconds, "answer": ended.answer, "error": ended.message,
    }  # fmt: skip


def _said_when_interrupted() -> list[str]:
    """Returns what a notebook shows of a cell that a person interrupted: no stack from our insides."""
    return [
        "Interrupted: calls in flight were stopped, with their runs. Finished ones are kept: run the cell to go on."
    ]


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
    budget: Mapping[str, Any] | int | None = None,
) -> Workflow:
    """Returns the workflow of this name in this process, the same one each time: a pass lasts until the process ends or
    `wf.new_pass()`. What is given here holds for all of its calls from now on; what is not stays as it is.

    `budget` is what the live calls of a pass may take together: tokens, or `{"tokens": …, "cost": …}` with None for no
    limit. Without it the server's `workflow_budget_tokens` holds.

    Raises InvalidRequest for what is no name.
    """
    here = session()
    known: Workflow | None = here.workflows.get(name)
    if known is None:
        known = here.workflows[name] = Workflow(here.client, name)
    if args is not None:
        known.take_args(args)
    if budget is not None:
        known.limit(budget)
    given = {"model": model, "settings": settings, "instructions": instructions, "script": script}
    known.defaults = msgspec.structs.replace(
        known.defaults, **{key: value for key, value in given.items() if value is not None}
    )
    return known
