"""Frames that stay current: what is new is read when somebody looks, and how far it is can be asked.

Nothing works in the background: a frame that nobody looks at costs nothing.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec.structs import replace

from ..client.feed import Feed
from ..client.rows import Rows
from ..events import parse_cursor
from ..facts.columns import Column
from ..facts.query import Wanted
from ..records import ACTIVE, utc_now
from .columns import to_frame

if TYPE_CHECKING:
    import pandas as pd

    from .many import Source

LOOK_EVERY_S: Final = 1.0
MANY: Final = 200
"""If more runs changed, all is read again."""


class Followed(Protocol):
    """What a live frame shows."""

    @property
    def what(self) -> str:
        """What its rows are, for people."""

    @property
    def seq(self) -> Any:
        """How far it is."""

    @property
    def is_done(self) -> bool:
        """Nothing more can come."""

    def look(self) -> bool:
        """Takes in what is new; tells whether there was anything. Blocking."""

    def frame(self) -> "pd.DataFrame":
        """Returns what was taken in."""

    def pause(self, seconds: float) -> None:
        """Returns when there may be news, at most after that time."""


class LiveFrame:
    """A frame that stays current. `df` is everything until now; `wait()` blocks until there is more.

    `async for frame in live` gives every state until nothing more can come. `seq` says how far it is: the number of
    the last event that it knows of one run, a Series of those by run where events of many are told, else None. `at` is
    when it was last looked.
    """

    def __init__(self, followed: Followed) -> None:
        self._followed = followed
        self._gate = threading.Lock()
        self._frame: pd.DataFrame | None = None
        self._is_stopped = False
        self.at: datetime | None = None
        self._look()

    @property
    def df(self) -> "pd.DataFrame":
        """Everything until now, as a DataFrame; after `stop()` as it was then."""
        self._look()
        with self._gate:
            if self._frame is None:
                self._frame = self._followed.frame()
            return self._frame

    @property
    def seq(self) -> Any:
        """The last event that it knows."""
        return self._followed.seq

    @property
    def is_done(self) -> bool:
        """Whether it stays as it is: everything it shows has ended, or it was stopped."""
        return self._is_stopped or self._followed.is_done

    def wait(self, timeout: float | None = None) -> bool:
        """Blocks until there is something that `df` has not given yet, and tells whether there is: False when nothing
        more can come, or after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            is_last = self.is_done
            self._look()
            if self._frame is None:
                return True
            left = LOOK_EVERY_S if end is None else min(LOOK_EVERY_S, end - time.monotonic())
            if is_last or left <= 0:
                return False
            self._followed.pause(left)

    async def __aiter__(self) -> AsyncIterator["pd.DataFrame"]:
        is_over = False
        while not is_over:
            is_over = self.is_done
            if await asyncio.to_thread(self.wait, LOOK_EVERY_S):
                yield await asyncio.to_thread(lambda: self.df)

    def stop(self) -> None:
        """Leaves it as it is."""
        self._is_stopped = True

    def __repr__(self) -> str:
        seq = self.seq
        far = f" to event {seq}" if isinstance(seq, int) else f" as of {self.at:%H:%M:%S} UTC" if self.at else ""
        state = "stopped" if self._is_stopped else "whole" if self.is_done else "live"
        return f"<LiveFrame {self._followed.what}{far}, {state}>"

    def _look(self) -> None:
        with self._gate:
            if self._is_stopped:
                return
            if self._followed.look() or self.at is None:
                self._frame = None
            self.at = utc_now()


class FollowedRows:
    """The rows of one run, from what this process hears of it."""

    def __init__(self, rows: Rows[Any], again: Callable[[], Rows[Any]], feed: Feed) -> None:
        self._rows, self._again, self._feed = rows, again, feed
        self._event_id: str | None = None

    @property
    def what(self) -> str:
        return f"{len(self._rows):,} {self._rows.kind.replace('_', ' ')} of {self._rows.run_id}"

    @property
    def seq(self) -> int:
        place = parse_cursor(self._event_id or "")
        return place.seq if place else 0

    @property
    def is_done(self) -> bool:
        return self._feed.is_done

    def look(self) -> bool:
        last = self._feed.read(lambda seen: seen.last_event_id)
        if last == self._event_id:
            return False
        self._event_id, self._rows = last, self._again()
        return True

    def frame(self) -> "pd.DataFrame":
        from .tables import frame

        return frame(self._rows)

    def pause(self, seconds: float) -> None:
        self._feed.wait_until(lambda seen: seen.last_event_id != self._event_id, seconds)


class FollowedFacts:
    """Facts of many runs: those of runs that go on, and of new ones, are read again."""

    def __init__(self, source: "Source", wanted: Wanted, columns: Sequence[Column], *, parse: bool) -> None:
        self._source, self._wanted, self._columns, self._parse = source, wanted, columns, parse
        self._told = replace(wanted, columns=("run_id", *wanted.columns)) if wanted.columns else wanted
        self._table: Any = None
        self._order: dict[str, int] = {}
        self._active: set[str] = set()
        self._newest: datetime | None = wanted.since
        self._looked = 0.0
        self._is_whole_again = wanted.kind == "feedback"

    @property
    def what(self) -> str:
        rows = 0 if self._table is None else self._table.num_rows
        return f"{rows:,} {self._wanted.kind.replace('_', ' ')} of {len(self._order):,} runs"

    @property
    def seq(self) -> Any:
        if self._table is None or not {"run_id", "seq"} <= set(self._table.column_names):
            return None
        return self._table.group_by("run_id").aggregate([("seq", "max")]).to_pandas().set_index("run_id")["seq_max"]

    @property
    def is_done(self) -> bool:
        return bool(self._wanted.run_ids) and self._table is not None and not self._active

    def look(self) -> bool:
        # Somebody who looks again at once, as the parts of a cell do, asks nobody again.
        if self._table is not None and (self.is_done or time.monotonic() - self._looked < LOOK_EVERY_S / 2):
            return False
        # Who goes on is asked before what there is: what happens in between is read next time.
        before, self._active = self._active, self._ids(statuses=sorted(ACTIVE))
        changed = before | self._active | self._ids(since=self._newest)
        self._looked = time.monotonic()
        if self._table is None or self._is_whole_again or len(changed) > MANY:
            found = self._source.table(self._told)
        elif changed:
            found = self._merged(changed)
        else:
            return False
        is_news = self._table is None or found.num_rows != self._table.num_rows or not found.equals(self._table)
        self._table = found
        return is_news

    def _ids(self, **more: Any) -> set[str]:
        """Returns the ids of those of the runs, and notes in which order they began."""
        asked = replace(self._wanted, kind="runs", columns=("run_id", "created_at"), statuses=(), model=None, tool=None)
        found = self._source.table(replace(asked, after=0, **more))
        for run_id, at in zip(*(column.to_pylist() for column in found.columns), strict=True):
            if "since" in more:
                self._order.setdefault(run_id, len(self._order))
                self._newest = at if self._newest is None else max(self._newest, at)
        return set(found.column("run_id").to_pylist())

    def _merged(self, changed: set[str]) -> Any:
        """Returns the table with what the changed runs say now, in the order that a new one would have."""
        import pyarrow as pa
        from pyarrow import compute

        if len(changed) == 1 and (more := self._grown(*changed)) is not None:
            return more
        ids = pa.array(sorted(changed), pa.string())
        kept = self._table.filter(compute.invert(compute.is_in(self._table.column("run_id"), ids)))
        whole = pa.concat_tables([kept, self._source.table(replace(self._told, run_ids=tuple(sorted(changed))))])
        ranks = pa.array([self._order.get(one, 0) for one in whole.column("run_id").to_pylist()], pa.int64())
        return whole.take(compute.sort_indices(ranks)).combine_chunks()

    def _grown(self, run_id: str) -> Any:
        """Returns the table with the events that a run has had since, where it is the last one that there is; None
        where they cannot just follow: a server that was killed may have taken some back and gone on in another
        epoch."""
        import pyarrow as pa

        if self._wanted.kind != "events" or self._wanted.columns or not self._table.num_rows:
            return None
        last = self._table.slice(self._table.num_rows - 1).to_pylist()[0]
        if last["run_id"] != run_id:
            return None
        news = self._source.table(replace(self._told, run_ids=(run_id,), after=last["seq"]))
        follow = not news.num_rows or news.column("epoch")[0].as_py() == last["epoch"]
        return pa.concat_tables([self._table, news]) if follow else None

    def frame(self) -> "pd.DataFrame":
        table = self._table.select(self._wanted.columns) if self._wanted.columns else self._table
        # A frame uses the table up.
        return to_frame(table.select(table.column_names), self._columns, parse=self._parse)

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)
