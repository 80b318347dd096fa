"""The requests of one's runs as they are kept: read from the gateway, and each compared with the one before it."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final

import pandas as pd
import pyarrow as pa
from msgspec import Struct
from msgspec.structs import replace

from ..cache_shape import Finding, Request, cause_of
from ..client.client import Client
from ..exceptions import InvalidRequest
from ..facts.kinds import KINDS
from ..records import Segment
from .columns import to_frame

SEGMENTS: Final = ("run_id", "turn", "position", "region", "label", "fingerprint", "tokens", "hit", "miss")


class Turn(Struct, frozen=True, kw_only=True):
    """A request with what was found of it, and what it cost. `is_shown` says that it is one of those asked for: others
    of its thread are there to be compared with."""

    request: Request
    finding: Finding
    thread_id: str
    output_tokens: int
    cost: float | None
    is_shown: bool


class Wanted(Struct, frozen=True, kw_only=True):
    """Which turns are asked for. `of_run` is the thread of the run, where that is known."""

    run_id: str | None = None
    of_run: str | None = None
    thread_id: str | None = None
    model: str | None = None
    since: str | None = None


async def read_turns(client: Client, wanted: Wanted) -> tuple[list[Turn], pd.DataFrame]:
    """Returns the turns of the threads that matter, and the segments of those asked for.

    All turns of a thread are read, so that none is taken for a first one that is not. Raises RunNotFound, and
    InvalidRequest for a run of another thread.
    """
    thread_id = await _thread_of(client, wanted)
    facts = await read_facts(client, "turns", threadId=thread_id)
    is_shown = pd.Series(True, index=facts.index)
    for name in ("run_id", "model"):
        if (value := getattr(wanted, name)) is not None:
            is_shown &= facts[name] == value
    earliest = None
    if wanted.since is not None:
        is_shown &= facts["run_created_at"] >= _utc(wanted.since)
        earliest = _earliest(facts, is_shown)
    segments = await read_facts(client, "segments", threadId=thread_id, since=earliest)
    turns = await asyncio.to_thread(_turns, facts, is_shown, segments)
    shown = {(turn.request.run_id, turn.request.turn) for turn in turns if turn.is_shown}
    is_of_shown = [place in shown for place in zip(segments["run_id"], segments["turn"], strict=True)]
    return turns, segments.loc[is_of_shown, list(SEGMENTS)].reset_index(drop=True)


async def _thread_of(client: Client, wanted: Wanted) -> str | None:
    if wanted.run_id is None:
        return wanted.thread_id
    of_run = wanted.of_run or (await client.record(wanted.run_id)).thread_id
    if wanted.thread_id not in (None, of_run):
        raise InvalidRequest(f"The run {wanted.run_id} is of the thread {of_run}, not of {wanted.thread_id}.")
    return of_run


async def read_facts(client: Client, kind: str, **filters: Any) -> pd.DataFrame:
    """Returns facts of a kind, chosen by the gateway's own words."""
    table = pa.ipc.open_stream(await client.facts(kind, **filters)).read_all()
    return await asyncio.to_thread(to_frame, table, KINDS[kind].columns)


def _utc(text: str) -> pd.Timestamp:
    at = pd.Timestamp(text)
    return at.tz_localize("UTC") if at.tzinfo is None else at.tz_convert("UTC")


def _earliest(facts: pd.DataFrame, is_shown: "pd.Series[bool]") -> str | None:
    """Returns when the first of the runs was created that are shown, or come right before one in its thread."""
    first = facts.loc[is_shown].groupby("thread_id")["run_created_at"].min()
    before = facts.loc[facts["run_created_at"] < facts["thread_id"].map(first)]
    needed = [*first, *before.groupby("thread_id")["run_created_at"].max()]
    return min(needed).isoformat() if needed else None


def _turns(facts: pd.DataFrame, is_shown: "pd.Series[bool]", segments: pd.DataFrame) -> list[Turn]:
    """Returns the turns with what was found of each, in the order of the facts."""
    prompts: dict[tuple[str, int], list[Segment]] = defaultdict(list)
    for run_id, turn, *segment in zip(
        *(segments[name].tolist() for name in ("run_id", "turn", "region", "label", "fingerprint", "tokens")),
        strict=True,
    ):
        prompts[run_id, turn].append(Segment(*segment))
    turns = [
        Turn(
            request=_request(row, tuple(prompts[row.run_id, row.turn])),
            finding=Finding(None),
            thread_id=row.thread_id,
            output_tokens=int(row.output_tokens),
            cost=None if pd.isna(row.cost) else float(row.cost),
            is_shown=bool(shown),
        )
        for row, shown in zip(facts.itertuples(), is_shown, strict=True)
    ]
    found: dict[tuple[str, int], Finding] = {}
    for requests in threads_of(turns):
        for previous, request in zip([None, *requests], requests, strict=False):
            found[request.run_id, request.turn] = cause_of(request, previous)
    return [replace(turn, finding=found[turn.request.run_id, turn.request.turn]) for turn in turns]


def threads_of(turns: Iterable[Turn]) -> Iterator[list[Request]]:
    """Yields the requests of each thread in the order in which they were sent."""
    threads: dict[str, list[Request]] = defaultdict(list)
    for turn in turns:
        threads[turn.thread_id].append(turn.request)
    for requests in threads.values():
        yield sorted(requests, key=lambda request: request.started_at)


def _request(row: Any, segments: tuple[Segment, ...]) -> Request:
    is_unmeasured = row.unmeasured_requests > 0 and row.total_tokens == 0
    counts = (row.input_tokens, row.cache_read_tokens, row.cache_write_tokens)
    whole, read, written = (None if is_unmeasured else int(count) for count in counts)
    return Request(
        run_id=row.run_id,
        turn=int(row.turn),
        model=row.model,
        started_at=row.started_at.to_pydatetime(),
        segments=segments,
        input_tokens=whole,
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_life_s=None if pd.isna(row.cache_life) else row.cache_life.total_seconds(),
    )
