"""What `ja.` offers of the client: start and open runs, list what there is, connect. Every call has a twin that starts
with `a` and is awaited."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import msgspec

from .. import records
from ..exceptions import InvalidRequest
from .client import Client, ModelInfo
from .discovery import gateway_at
from .rows import Rows
from .run import Run
from .session import session
from .shell import current_cell, kernel_id
from .thread import Thread

LISTED = 100
Tools = Iterable[str | Callable[..., Any]] | str | None


class Wish(msgspec.Struct, kw_only=True):
    """What the caller of `ja.run` wants, as it was said."""

    prompt: str
    model: str | None = None
    thread: Any = None
    tools: Any = None
    budget: Any = None
    policy: str | None = None
    agent: str | None = None
    metadata: Mapping[str, Any] | None = None
    instructions: str | None = None
    settings: Mapping[str, Any] | None = None
    multitask: str = "reject"
    script: Any = None
    on_ask: str = "wait"
    waits: bool = False
    show: bool = True


def run(  # noqa: PLR0913 - one call offers everything that a run can be told
    prompt: str,
    *,
    model: str | None = None,
    thread: Thread | str | None = None,
    tools: Tools = None,
    budget: records.Budget | Mapping[str, Any] | None = None,
    policy: str | None = None,
    agent: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    instructions: str | None = None,
    settings: Mapping[str, Any] | None = None,
    multitask: str = "reject",
    script: Any = None,
    on_ask: Literal["wait", "reject"] = "wait",
    waits: bool = False,
    show: bool = True,
) -> Run:
    """Starts a run and returns it at once; it shows itself live.

    `await run` or `run.result()` gives the answer. `thread` is a thread, its id or its title (made where there is
    none); without one the run gets a thread of its own. `tools` names the server's tools to allow and holds
    functions of this process; None means all. `budget` is for example `{"turns": 5, "seconds": 60}`. `instructions`
    are told the model after the server's own. `settings` are the model's: `{"temperature": 0}`, or
    `{"context_max": 20_000}` to use no more of its window; `demo` takes `pace` and `cache_life_s`. `multitask`
    says what happens when the thread is busy: reject, interrupt, rollback, enqueue. `script` is for the `scripted`
    model. `on_ask="reject"` rejects what would ask a person. `waits` says that the caller will wait at once.

    Raises GatewayNotFound, UnknownModel, ThreadBusy, InvalidRequest and what else the gateway refuses it for.
    """
    wish = Wish(
        prompt=prompt, model=model, thread=thread, tools=tools, budget=budget, policy=policy, agent=agent,
        metadata=metadata, instructions=instructions, settings=settings, multitask=multitask, script=script,
        on_ask=on_ask, waits=waits, show=show,
    )  # fmt: skip
    client, request = session().client, _Prepared(wish)
    return _shown(client.wait(request.start(client)), wish)


async def arun(prompt: str, **options: Any) -> Run:
    """Starts a run like `run`, with the same options, without blocking the event loop meanwhile."""
    wish = Wish(prompt=prompt, **options)
    client, request = session().client, _Prepared(wish)
    return _shown(await client.join(request.start(client)), wish)


def _shown(run: Run, wish: Wish) -> Run:
    if wish.show:
        session().show(run)
    return run


class ForkWish(msgspec.Struct, kw_only=True):
    """What the caller of `run.fork` wants to be otherwise, as it was said. What is None stays as it was."""

    turn: int | None = None
    input: str | None = None
    model: str | None = None
    instructions: str | None = None
    settings: Mapping[str, Any] | None = None
    tools: Any = None
    budget: Any = None
    script: Any = None
    metadata: Mapping[str, Any] | None = None
    waits: bool = False
    show: bool = True


def fork(run: Run, wish: ForkWish) -> Run:
    """Does what `run.fork` says."""
    client, request = run.client, _fork_request(wish)
    return _maybe_shown(client.wait(_forked(run, request)), show=wish.show)


async def afork(run: Run, wish: ForkWish) -> Run:
    """Awaits what `fork` returns."""
    client, request = run.client, _fork_request(wish)
    return _maybe_shown(await client.join(_forked(run, request)), show=wish.show)


def _fork_request(wish: ForkWish) -> records.ForkRequest:
    """Checks a wish in the caller's thread, where the cell is known. Raises InvalidRequest."""
    said: dict[str, Any] = {
        "turn": wish.turn, "input": records.clean(wish.input), "model": wish.model, "budget": wish.budget,
        "instructions": records.clean(wish.instructions), "script": wish.script, "waits": wish.waits,
        "kwargs": None if wish.settings is None else dict(wish.settings), "metadata": dict(wish.metadata or {}),
        "kernelId": kernel_id(), "cell": current_cell(),
    }  # fmt: skip
    if wish.tools is not None:
        said["tools"], own = session().toolbox.pick(wish.tools)
        said["clientTools"] = [tool.spec for tool in own]
    try:
        return msgspec.convert(msgspec.to_builtins(said), records.ForkRequest)
    except (msgspec.MsgspecError, TypeError, ValueError) as misfit:
        raise InvalidRequest(f"The run cannot be forked like this: {misfit}.") from misfit


async def _forked(run: Run, request: records.ForkRequest) -> Run:
    client = run.client
    record = await client.fork(run.id, request)
    _, own = session().toolbox.pick(None)
    return Run(client, record, client.feed(record.run_id, {tool.spec.name: tool for tool in own}))


class _Prepared:
    """A wish checked in the caller's thread, where the cell is known, and ready to be started in the client's loop."""

    def __init__(self, wish: Wish) -> None:
        self._thread = wish.thread
        names, self._own = session().toolbox.pick(wish.tools)
        try:
            said = {
                "input": records.clean(wish.prompt), "model": wish.model, "agent": wish.agent, "tools": names,
                "budget": wish.budget, "policy": wish.policy, "onAsk": wish.on_ask, "multitask": wish.multitask,
                "metadata": dict(wish.metadata or {}), "instructions": records.clean(wish.instructions),
                "kwargs": dict(wish.settings or {}), "script": wish.script, "waits": wish.waits,
                "clientTools": [tool.spec for tool in self._own], "kernelId": kernel_id(), "cell": current_cell(),
            }  # fmt: skip
            self._request = msgspec.convert(msgspec.to_builtins(said), records.RunRequest)
        except (msgspec.MsgspecError, TypeError, ValueError) as misfit:
            raise InvalidRequest(f"The run cannot be started like this: {misfit}.") from misfit

    async def start(self, client: Client) -> Run:
        thread_id = None
        if isinstance(self._thread, str):
            thread_id = (await client.find_thread(self._thread)).thread_id
        elif self._thread is not None:
            thread_id = self._thread.id
        record = await client.start(msgspec.structs.replace(self._request, thread_id=thread_id))
        return Run(client, record, client.feed(record.run_id, {tool.spec.name: tool for tool in self._own}))


# --- what there is --------------------------------------------------------------------------------------------


def open(run_id: str, *, show: bool = False) -> Run:  # noqa: A001 - the spec's name
    """Returns a run that was started before, anywhere, followed from its first event. Raises RunNotFound."""
    client = session().client
    return _maybe_shown(client.wait(_open(client, run_id)), show=show)


async def aopen(run_id: str, *, show: bool = False) -> Run:
    """Awaits what `open` returns."""
    client = session().client
    return _maybe_shown(await client.join(_open(client, run_id)), show=show)


def _maybe_shown(run: Run, *, show: bool) -> Run:
    if show:
        session().show(run)
    return run


async def _open(client: Client, run_id: str) -> Run:
    record = await client.record(run_id)
    _, own = session().toolbox.pick(None)
    return Run(client, record, client.feed(record.run_id, {tool.spec.name: tool for tool in own}))


def thread(name: str | None = None) -> Thread:
    """Returns the thread with this id or title, made with that title where there is none; without a name a new one."""
    client = session().client
    return _as_thread(client, client.wait(client.find_thread(name) if name else client.create_thread()))


async def athread(name: str | None = None) -> Thread:
    """Awaits what `thread` returns."""
    client = session().client
    return _as_thread(client, await client.join(client.find_thread(name) if name else client.create_thread()))


def _as_thread(client: Client, record: records.Thread) -> Thread:
    return Thread(client, record.thread_id, title=record.title)


def threads(
    *, search: str | None = None, metadata: Mapping[str, Any] | None = None, limit: int = LISTED
) -> Rows[records.Thread]:
    """Returns one's threads, newest first: those with `search` in their title, whatever its case, and with all of these
    values in their metadata."""
    client = session().client
    rows: Rows[records.Thread] = client.wait(client.list_threads(limit=limit, search=search, metadata=metadata))
    return rows


async def athreads(
    *, search: str | None = None, metadata: Mapping[str, Any] | None = None, limit: int = LISTED
) -> Rows[records.Thread]:
    """Awaits what `threads` returns."""
    client = session().client
    rows: Rows[records.Thread] = await client.join(client.list_threads(limit=limit, search=search, metadata=metadata))
    return rows


def models() -> Rows[ModelInfo]:
    """Returns the models that the server offers, with advice where one is not ready."""
    client = session().client
    rows: Rows[ModelInfo] = client.wait(client.list_models())
    return rows


async def amodels() -> Rows[ModelInfo]:
    """Awaits what `models` returns."""
    client = session().client
    rows: Rows[ModelInfo] = await client.join(client.list_models())
    return rows


def connect(url: str | None = None, token: str | None = None) -> Client:
    """Uses the gateway at this address of a Jupyter server from now on; without one the gateway that is found.

    Nothing is sent yet. Raises GatewayNotFound for what is no address.
    """
    if url is None:
        return session().client
    return session().connect(gateway_at(url, token or "", source="ja.connect"))
