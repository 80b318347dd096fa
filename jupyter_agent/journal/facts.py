"""Events and messages of many runs as Arrow, from their journals: live, stored or archived."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any

from ..exceptions import RunNotFound
from ..facts.journal import Telling
from ..facts.query import Wanted
from .journal import Journal


async def read_told(journal: Journal, run_ids: Iterable[str], wanted: Wanted) -> AsyncGenerator[Any, None]:
    """Yields events or messages of these runs as `pyarrow.RecordBatch`es of bounded size, at least one. A run that is
    deleted meanwhile is left out.

    Raises InvalidRequest for a column or a filter that there is not, StorageError for what cannot be read.
    """
    telling = Telling(wanted)
    for run_id in run_ids:
        telling.begin(run_id)
        try:
            async with aclosing(journal.stored(run_id, after=wanted.after)) as stored:
                async for lines in stored:
                    await asyncio.to_thread(telling.take, lines)
                    if telling.is_full:
                        yield telling.taken()
        except RunNotFound:
            continue
        await asyncio.to_thread(telling.end)
    yield telling.taken()
