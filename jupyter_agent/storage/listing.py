"""Which rows a list tells, newest first, said so that among a million of them only those are read that are told.

Databases read an index in its order as long as all conditions before the order are single values. A list of several
statuses is therefore made of one part each.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from ..records import Principal, RunStatus, clean
from .cursors import Key
from .queries import is_of
from .tables import UtcTime, runs


def runs_chosen(
    *,
    by: Principal,
    thread_id: str | None,
    parent_run_id: str | None,
    statuses: Sequence[RunStatus],
    model: str | None,
) -> list[sa.Select[Any]]:
    """Returns what asks for these runs, in parts of which each is in the order of an index."""
    is_own = is_of(runs, by)
    if thread_id is None and parent_run_id is None and not by.is_system:
        query = sa.select(runs).where(is_own)
        if model is not None:
            query = query.where(runs.c.model == clean(model))
        elif not statuses:
            return [query]
        return [query.where(runs.c.status == str(status)) for status in sorted(set(statuses) or RunStatus)]
    few = {runs.c.thread_id: thread_id, runs.c.parent_run_id: parent_run_id}
    query = sa.select(runs).where(*(column == clean(value) for column, value in few.items() if value is not None))
    # What these few are chosen by is no bare column: without statistics SQLite would take the index of a user or a
    # status, with all the runs of other threads.
    among = {runs.c.user_id: None if by.is_system else by.user_id, runs.c.model: model}
    query = query.where(*(column.concat("") == clean(value) for column, value in among.items() if value is not None))
    if statuses:
        query = query.where(runs.c.status.concat("").in_(sorted(set(statuses))))
    return [query]


def newest(parts: Sequence[sa.Select[Any]], name: sa.Column[Any], *, after: Key | None, limit: int) -> sa.Select[Any]:
    """Returns what asks for the newest rows of all parts together, ties by `name`; `after` is where a page ended."""
    order = (name.table.c.created_at, name)
    if after is not None:
        # As one comparison of both: only so does PostgreSQL begin where the page before ended.
        ended = sa.tuple_(sa.literal(after.created_at, UtcTime), sa.literal(clean(after.id), name.type))
        parts = [part.where(sa.tuple_(*order) < ended) for part in parts]
    parts = [part.order_by(*(column.desc() for column in order)).limit(limit) for part in parts]
    if len(parts) == 1:
        return parts[0]
    # Which they are is found out first: all columns of all parts would make a statement of many thousand words.
    keys = (sa.select(part.with_only_columns(*order).subquery()) for part in parts)
    found = sa.union_all(*keys).subquery("found")
    newest_first = [found.c[column.name].desc() for column in order]
    its = sa.select(name.table).join_from(found, name.table, name == found.c[name.name])
    return its.order_by(*newest_first).limit(limit)
