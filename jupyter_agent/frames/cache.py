"""The shape of the provider's cache, as frames: what it read of every prompt, why not more, and what would have
changed that."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

import pandas as pd
from msgspec import Struct

from ..cache_shape import Cause, Change, Prediction, Request, predict
from ..client.client import Client
from ..exceptions import InvalidRequest
from ..facts.columns import Column, Type, said
from ..records import Usage
from .columns import to_frame, to_table
from .requests import Turn, read_facts, threads_of

SHOWN: Final = 20
REGIONS: Final = ("system", "tool", "message", "attachment")


def _rate(read: int | None, whole: int | None) -> float | None:
    return read / whole if read is not None and whole else None


_OF_REQUEST: Final = (
    said("run_id", Type.TEXT),
    said("turn", Type.INT),
    said("model", Type.NAME),
    said("input_tokens", Type.INT),
    said("cache_read_tokens", Type.INT),
    Column("hit_rate", Type.FLOAT, lambda request: _rate(request.cache_read_tokens, request.input_tokens)),
)


def _of(part: str, column: Column) -> Column:
    source: Any = column.source
    return Column(column.name, column.type, lambda row: source(getattr(row, part)), column.names)


TURNS: Final = (
    *(_of("request", column) for column in _OF_REQUEST),
    Column("cause", Type.NAME, lambda turn: turn.finding.cause, tuple(map(str, Cause))),
    Column("region", Type.NAME, lambda turn: turn.finding.region, REGIONS),
    Column("before", Type.TEXT, lambda turn: turn.finding.before),
    Column("after", Type.TEXT, lambda turn: turn.finding.after),
    Column("idle", Type.LENGTH, lambda turn: turn.finding.idle),
)


def _frame(columns: tuple[Column, ...], rows: Iterable[Any]) -> pd.DataFrame:
    return to_frame(to_table(columns, list(rows)), columns)


class _Outlook(Struct, frozen=True):
    """A prediction with what the turn cost, and what it would have cost."""

    prediction: Prediction
    cost: float | None
    predicted_cost: float | None

    @property
    def request(self) -> Request:
        return self.prediction.request


WHAT_IF: Final = (
    *(_of("request", column) for column in _OF_REQUEST),
    Column("predicted_cache_read_tokens", Type.INT, lambda row: row.prediction.cache_read_tokens),
    Column(
        "predicted_hit_rate", Type.FLOAT, lambda row: _rate(row.prediction.cache_read_tokens, row.request.input_tokens)
    ),
    said("cost", Type.FLOAT),
    said("predicted_cost", Type.FLOAT),
)


class CacheShape:
    """What the cache read of the prompts of one run or many.

    `df` has a row a turn: run_id, turn, model, input_tokens, cache_read_tokens, hit_rate (0 to 1), cause, region,
    before, after, idle. A cause is missing where nothing was missed that the request before had sent, and "unknown"
    where none can be shown. `segments` has a row a region of a prompt: run_id, turn, position, region, label,
    fingerprint, tokens, hit, miss.
    """

    def __init__(self, client: Client, turns: list[Turn], segments: pd.DataFrame) -> None:
        self._client = client
        self._turns = turns
        self._shown = [turn for turn in turns if turn.is_shown]
        self.df = _frame(TURNS, self._shown)
        self.segments = segments

    def __repr__(self) -> str:
        requests = [turn.request for turn in self._shown]
        measured = [request for request in requests if request.input_tokens]
        whole = sum(request.tokens for request in measured)
        read = sum(request.cache_read_tokens or 0 for request in measured)
        said = f"{read / whole:.0%} of {whole:,} input tokens read" if whole else "nothing reported"
        turns = "1 turn" if len(requests) == 1 else f"{len(requests):,} turns"
        lines = [f"<CacheShape of {turns}: {said}>"]
        has_runs = len({request.run_id for request in requests}) > 1
        lines += [f"  {_line(turn, has_run=has_runs)}" for turn in self._shown[:SHOWN]]
        if len(requests) > SHOWN:
            lines.append(f"  … and {len(requests) - SHOWN:,} more in .df")
        return "\n".join(lines)

    def what_if(
        self,
        *,
        sorted_tools: bool = False,
        life: timedelta | None = None,
        moved: str | Iterable[str] = (),
        priced_as: str | None = None,
    ) -> pd.DataFrame:
        """Returns what the cache would have read of other prompts, and what they would have cost: a row a turn.

        `sorted_tools`: the tools always sorted by name. `life`: prompts kept for so long. `moved`: these regions
        ("system", "tool", …) or labels (a tool's name) sent last, behind what stays the same. Columns: run_id, turn,
        model, input_tokens, cache_read_tokens, hit_rate, predicted_cache_read_tokens, predicted_hit_rate, cost,
        predicted_cost (US dollars, by the prices of the run's model, or of `priced_as`, missing where unknown).
        Raises InvalidRequest where nothing would be otherwise, and for a region or label that no prompt has.
        """
        change = self._change(sorted_tools=sorted_tools, life=life, moved=moved)
        outlooks: list[_Outlook] = self._client.wait(self._outlooks(change, priced_as))
        return _frame(WHAT_IF, outlooks)

    async def awhat_if(
        self,
        *,
        sorted_tools: bool = False,
        life: timedelta | None = None,
        moved: str | Iterable[str] = (),
        priced_as: str | None = None,
    ) -> pd.DataFrame:
        """Awaits what `what_if` returns."""
        change = self._change(sorted_tools=sorted_tools, life=life, moved=moved)
        return _frame(WHAT_IF, await self._client.join(self._outlooks(change, priced_as)))

    # --- inside

    def _change(self, *, sorted_tools: bool, life: timedelta | None, moved: str | Iterable[str]) -> Change:
        names = (moved,) if isinstance(moved, str) else tuple(moved)
        if not (sorted_tools or names or life is not None):
            raise InvalidRequest("Say what would be otherwise: sorted_tools=True, life=timedelta(hours=1), moved=….")
        if life is not None and not isinstance(life, timedelta):
            raise InvalidRequest(f"life is a timedelta, not {life!r}: for example timedelta(hours=1).")
        there = {*self.segments["region"].astype(str), *self.segments["label"].astype(str)}
        for name in names:
            if name not in there:
                raise InvalidRequest(f"No prompt has {name!r} to be moved. They have: {', '.join(sorted(there))}.")
        return Change(sorted_tools=sorted_tools, life_s=None if life is None else life.total_seconds(), moved=names)

    async def _outlooks(self, change: Change, priced_as: str | None) -> list[_Outlook]:
        """Predicts thread by thread, since a run finds what the ones before it had sent, and asks for the prices."""
        predictions: dict[tuple[str, int], Prediction] = {}
        for requests in threads_of(self._turns):
            for one in predict(requests, change):
                predictions[one.request.run_id, one.request.turn] = one
        chosen = [(turn, predictions[turn.request.run_id, turn.request.turn]) for turn in self._shown]
        models = {} if priced_as else await self._models()
        uses = [
            (priced_as or models.get(turn.request.run_id, ""), usage)
            for turn, prediction in chosen
            for usage in (
                _usage(turn, turn.request.cache_read_tokens, turn.request.cache_write_tokens),
                _usage(turn, prediction.cache_read_tokens, prediction.cache_write_tokens),
            )
        ]
        costs = await self._client.costs(uses)
        return [
            _outlook(prediction, was if priced_as else turn.cost, was, would_be)
            for (turn, prediction), was, would_be in zip(chosen, costs[::2], costs[1::2], strict=True)
        ]

    async def _models(self) -> dict[str, str]:
        """Returns the models by their full names, by run: the turns say what the provider calls them."""
        threads = {turn.thread_id for turn in self._turns}
        one = next(iter(threads)) if len(threads) == 1 else None
        runs = await read_facts(self._client, "runs", threadId=one, columns="run_id,model")
        return dict(zip(runs["run_id"], runs["model"].astype(str), strict=True))


def _outlook(prediction: Prediction, cost: float | None, was: float | None, would_be: float | None) -> _Outlook:
    """Puts the difference of two prices on what was paid, which may be by other prices."""
    unknown = cost is None or was is None or would_be is None or prediction.cache_read_tokens is None
    return _Outlook(prediction, cost, None if unknown else cost + would_be - was)  # type: ignore[operator]


def _usage(turn: Turn, read: int | None, written: int | None) -> Usage:
    if read is None or written is None or turn.request.input_tokens is None:
        return Usage(requests=1, unmeasured_requests=1)
    return Usage(
        input_tokens=turn.request.input_tokens,
        output_tokens=turn.output_tokens,
        cache_read_tokens=read,
        cache_write_tokens=written,
        requests=1,
    )


def _line(turn: Turn, *, has_run: bool) -> str:
    request, finding = turn.request, turn.finding
    rate = _rate(request.cache_read_tokens, request.input_tokens)
    said = [f"turn {request.turn}", "not reported" if rate is None else f"{rate:.0%} of {request.input_tokens:,}"]
    if finding.cause is not None:
        where = f" in {finding.region}" if finding.region else ""
        change = f": {finding.before} → {finding.after}" if finding.before else ""
        idle = (
            f" after {finding.idle.total_seconds():,.0f} s" if finding.cause is Cause.EXPIRED and finding.idle else ""
        )
        said.append(f"{finding.cause}{where}{idle}{change}")
    return " · ".join([*([request.run_id] if has_run else []), *said])
