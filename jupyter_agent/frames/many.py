"""Frames over many runs: one row a fact, filtered where the facts are, read as Arrow.

The same functions wherever the facts come from: a gateway (`ja.turns()`) or a data folder (`ja.open_store(path)`).
"""

import asyncio
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypedDict, TypeVar, Unpack

from ..client.run import Run
from ..client.thread import Thread
from ..events import RunStarted
from ..exceptions import InvalidRequest
from ..facts.columns import Column, Type, said
from ..facts.journal import KINDS as TOLD
from ..facts.kinds import KINDS
from ..facts.query import Wanted
from .asking import Metadata, Runs, Time, wish
from .columns import to_frame
from .live import FollowedFacts, LiveFrame
from .usage import usage_by

if TYPE_CHECKING:
    import pandas as pd

    from .diff import Diff
    from .pass_at_k import Passed
    from .told import Tellable

Method = TypeVar("Method", bound=Callable[..., Any])


class Source(Protocol):
    """Where facts come from."""

    def table(self, wanted: Wanted) -> Any:
        """Returns all that is wanted as a `pyarrow.Table`. Blocking."""

    def batches(self, wanted: Wanted) -> Iterator[Any]:
        """Returns it as `pyarrow.RecordBatch`es, at least one, of which one at a time is in memory. Blocking."""

    def begun(self, run_id: str) -> RunStarted:
        """Returns the first event of a run. Blocking. Raises RunNotFound."""

    def blobs(self, keys: Sequence[str]) -> list[bytes]:
        """Returns the bytes of these blobs. Blocking. Raises BlobNotFound."""


class Chosen(TypedDict, total=False):
    """Of which runs: a run, an id or several of them; of a thread or model; in these statuses (several separated by
    commas); created since then and before `until` (a datetime, or a text like "2026-11-01", UTC where it names no
    zone); with these values in their metadata."""

    run: Runs
    thread: Thread | str | None
    model: str | None
    status: str | Iterable[str] | None
    since: Time
    until: Time
    metadata: Metadata


class Asked(Chosen, total=False):
    """Which columns, all without any, and in which form: `parse` gives columns of JSON as objects; `arrow` an Arrow
    table instead of a DataFrame, without pandas in between; `batches` an iterator of either, for what is too large to
    hold; `live` a `LiveFrame`, which stays current."""

    columns: Iterable[str] | None
    parse: bool
    arrow: bool
    batches: bool
    live: bool


class AskedCalls(Asked, total=False):
    """Tool calls can be chosen by their tool too."""

    tool: str | None


FORMS: Final = ("parse", "arrow", "batches", "live")


def says(asked: Any) -> Callable[[Method], Method]:
    """Lets a method's signature name all that can be asked, for help and completion."""

    def dress(method: Method) -> Method:
        own = [one for one in inspect.signature(method).parameters.values() if one.kind is not one.VAR_KEYWORD]
        more = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False if name in FORMS else None)
            for name in asked.__annotations__
        ]
        method.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
        return method

    return dress


class Facts:
    """All that happened in the runs of one source, as frames. Every method has a twin that starts with `a` and is
    awaited.

    What can be asked of all: see `Chosen` and `Asked`. Raises InvalidRequest for what is no such column or value,
    naming what there is.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    @says(Asked)
    def runs(self, **asked: Unpack[Asked]) -> "pd.DataFrame":
        """Returns all runs, oldest first: whose, how they stand, their tokens and cost, how they began and ended."""
        return self._told("runs", asked)

    @says(Asked)
    def turns(self, **asked: Unpack[Asked]) -> "pd.DataFrame":
        """Returns the turns of all runs, a row each, of the oldest run first: model, tokens, cost, times.

        `cache_life` is how long the provider keeps a prompt that is not sent again, where that is known. `model` is
        the turn's own. `columns` can also name parent_run_id, agent, notebook, cell_id and metadata of the run.
        """
        return self._told("turns", asked)

    @says(AskedCalls)
    def tool_calls(self, **asked: Unpack[AskedCalls]) -> "pd.DataFrame":
        """Returns the tool calls of all runs, a row an execution, of the oldest run first.

        `position` is among the calls of its turn; `attempt` counts, since after a crash a call may be executed again.
        Arguments and results are beginnings where they are long. `columns` can name more, as with turns.
        """
        return self._told("tool_calls", asked)

    @says(Asked)
    def segments(self, **asked: Unpack[Asked]) -> "pd.DataFrame":
        """Returns the regions of every turn's prompt, a row each: fingerprint, estimated tokens, what the provider had
        of them in its cache (`hit`) and what not (`miss`)."""
        return self._told("segments", asked)

    @says(Asked)
    def messages(self, **asked: Unpack[Asked]) -> "pd.DataFrame":
        """Returns the conversations of all runs, a row a message: what `run.messages.df` says of one run."""
        return self._told("messages", asked)

    @says(Asked)
    def events(self, **asked: Unpack[Asked]) -> "pd.DataFrame":
        """Returns all that happened in all runs, a row an event: what `run.events.df` says of one run."""
        return self._told("events", asked)

    @says(Asked)
    def feedback(self, **asked: Unpack[Asked]) -> "pd.DataFrame":
        """Returns what people think of their runs: a row a rating, +1 or -1, oldest first."""
        return self._told("feedback", asked)

    @says(Chosen)
    def usage(self, by: str = "model", **chosen: Unpack[Chosen]) -> "pd.DataFrame":
        """Returns tokens and cost, summed by model, run, thread, day, turn, stop_reason, agent, notebook, cell or tool.

        Each turn counts once; `turns` says how many there are. A cost is missing where one of its parts is unknown: it
        would be too low otherwise. By tool it is what the tools' executions used themselves: `calls`, how many
        `failed`, their tokens and the `latency` of all together.
        """
        return usage_by(by, lambda kind, columns: self._told(kind, {**chosen, "columns": columns}))

    def diff(self, a: "Run | str | Tellable", b: "Run | str | Tellable") -> "Diff":
        """Returns two runs side by side, turn by turn, and the first turn whose input differed: `.turn`, `.region`,
        `.before`, `.after`, `.df`.

        A run is given by itself or its id; an import of one run is one too. Of a run that goes on it is what is known
        by now. Raises RunNotFound.
        """
        from .diff import Diff
        from .told import tell

        return Diff(*(tell(self._source, one) for one in (a, b)))

    def pass_at_k(
        self,
        runs: "pd.DataFrame",
        k: int | Iterable[int] = 1,
        *,
        by: str = "first_human_message",
        passed: "Passed" = None,
    ) -> "pd.DataFrame":
        """Returns how likely one of k runs of a task passes, a row a task: how many `runs` there are, how many
        `passed`, and `pass@k` for each k (0 to 1), missing where there are fewer runs than k. `.mean()` is that of the
        whole.

        `runs` is a frame of runs that are over, like `ja.runs(metadata={"experiment": "b"})`. `by` is a column or a key
        of the runs' metadata: those that say the same there are runs of one task, by default those with the same first
        words. `passed` is a column that is True or False, or a function of a row; without it ratings say it:
        `run.rate(+1)` passed, `run.rate(-1)` did not.

        The estimate is unbiased: 1 - C(n-c, k) / C(n, k), where c of n runs passed (Chen et al. 2021, "Evaluating Large
        Language Models Trained on Code", arXiv:2107.03374). Raises InvalidRequest for runs that are not over, and for
        those of which task or outcome is not known.
        """
        from .pass_at_k import by_task, passed_of

        return by_task(runs, k, by, passed_of(runs, passed, self.feedback))

    # --- awaited ------------------------------------------------------------------------------------------------

    @says(Asked)
    async def aruns(self, **asked: Unpack[Asked]) -> "pd.DataFrame":
        """Awaits what `runs` returns."""
        return await asyncio.to_thread(self.runs, **asked)

    @says(Asked)
    async def aturns(self, **asked: Unpack[Asked]) -> "pd.DataFrame":
        """Awaits what `turns` returns."""
        return await asyncio.to_thread(self.turns, **asked)

    @says(AskedCalls)
    async def atool_calls(self, **asked: Unpack[AskedCalls]) -> "pd.DataFrame":
        """Awaits what `tool_calls` returns."""
        return await asyncio.to_thread(self.tool_calls, **asked)

    @says(Asked)
    async def asegments(self, **asked: Unpack[Asked]) -> "pd.DataFrame":
        """Awaits what `segments` returns."""
        return await asyncio.to_thread(self.segments, **asked)

    @says(Asked)
    async def amessages(self, **asked: Unpack[Asked]) -> "pd.DataFrame":
        """Awaits what `messages` returns."""
        return await asyncio.to_thread(self.messages, **asked)

    @says(Asked)
    async def aevents(self, **asked: Unpack[Asked]) -> "pd.DataFrame":
        """Awaits what `events` returns."""
        return await asyncio.to_thread(self.events, **asked)

    @says(Asked)
    async def afeedback(self, **asked: Unpack[Asked]) -> "pd.DataFrame":
        """Awaits what `feedback` returns."""
        return await asyncio.to_thread(self.feedback, **asked)

    @says(Chosen)
    async def ausage(self, by: str = "model", **chosen: Unpack[Chosen]) -> "pd.DataFrame":
        """Awaits what `usage` returns."""
        return await asyncio.to_thread(self.usage, by, **chosen)

    async def adiff(self, a: "Run | str | Tellable", b: "Run | str | Tellable") -> "Diff":
        """Awaits what `diff` returns."""
        return await asyncio.to_thread(self.diff, a, b)

    async def apass_at_k(
        self,
        runs: "pd.DataFrame",
        k: int | Iterable[int] = 1,
        *,
        by: str = "first_human_message",
        passed: "Passed" = None,
    ) -> "pd.DataFrame":
        """Awaits what `pass_at_k` returns."""
        return await asyncio.to_thread(self.pass_at_k, runs, k, by=by, passed=passed)

    # --- forms --------------------------------------------------------------------------------------------------

    def _told(self, kind: str, asked: Mapping[str, Any]) -> Any:
        known = (AskedCalls if kind == "tool_calls" else Asked).__annotations__
        if strange := [name for name in asked if name not in known]:
            raise InvalidRequest(f"{kind} are not chosen by {strange[0]!r}, but by {', '.join(known)}.")
        parse, arrow, batches, live = (bool(asked.get(name)) for name in FORMS)
        if live and (arrow or batches):
            raise InvalidRequest("What stays current is a DataFrame, and whole: leave arrow=True and batches=True out.")
        if parse and arrow:
            raise InvalidRequest("Arrow keeps JSON as text: leave parse=True out, or arrow=True.")
        wanted = wish(kind, **{name: value for name, value in asked.items() if name not in FORMS})
        columns = columns_of(kind)
        if live:
            return LiveFrame(FollowedFacts(self._source, wanted, columns, parse=parse))
        if batches:
            return self._in_batches(wanted, columns, parse=parse, arrow=arrow)
        table = self._source.table(wanted)
        return table if arrow else to_frame(table, columns, parse=parse)

    def _in_batches(self, wanted: Wanted, columns: Iterable[Column], *, parse: bool, arrow: bool) -> Iterator[Any]:
        import pyarrow as pa

        # Whatever is wrong is told now and not by the first batch.
        found = self._source.batches(wanted)
        return found if arrow else (to_frame(pa.Table.from_batches([one]), columns, parse=parse) for one in found)


def columns_of(kind: str) -> tuple[Column, ...]:
    """Returns all columns that facts of a kind can have."""
    if kind in TOLD:
        return (said("run_id", Type.TEXT), *TOLD[kind])
    return tuple(KINDS[kind].by_name.values())
