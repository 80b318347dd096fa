"""`parallel` and `pipeline`, in the portable language: one text for CPython and for the sandbox.

`check` refuses too many items before anything starts, `note` records what failed, `settle` gives the value of what a
stage returned. A call that was not yet scheduled when another failed with `on_error="raise"` never starts.
"""

import asyncio
from typing import Any


async def parallel(calls: list[Any], limit: int, on_error: str, check: Any, note: Any) -> list[Any]:
    """Returns the results of all calls in their order; a failed one is None, unless `on_error` is "raise"."""
    check(len(calls), limit, on_error)
    results: list[Any] = [None for _ in calls]
    faults: list[Any] = []
    waiting = [index for index in range(len(calls))]  # noqa: C416 - portable
    waiting.reverse()

    async def work() -> None:
        while waiting and not (faults and on_error == "raise"):
            index = waiting.pop()
            try:
                results[index] = await calls[index]
            except Exception as fault:  # noqa: BLE001 - whatever a call raises is its result
                faults.append((index, fault))
                note("parallel", index, fault)

    await asyncio.gather(*[work() for _ in range(min(limit, len(calls)))])
    if faults and on_error == "raise":
        raise faults[0][1]
    return results


async def pipeline(
    items: list[Any], stages: Any, limit: int, on_error: str, check: Any, note: Any, settle: Any
) -> list[Any]:
    """Returns what the last stage gives for each item. Each item flows on its own: no stage waits for all items. A
    stage gets `(previous, item, index)`; a failed item is None and skips its later stages."""
    check(len(items), limit, on_error)
    results: list[Any] = [None for _ in items]
    faults: list[Any] = []
    waiting = [index for index in range(len(items))]  # noqa: C416 - portable
    waiting.reverse()

    async def work() -> None:
        while waiting and not (faults and on_error == "raise"):
            index = waiting.pop()
            try:
                previous = items[index]
                for stage in stages:
                    previous = await settle(stage(previous, items[index], index))
                results[index] = previous
            except Exception as fault:  # noqa: BLE001 - whatever a stage raises is its item's result
                faults.append((index, fault))
                note("pipeline", index, fault)

    await asyncio.gather(*[work() for _ in range(min(limit, len(items)))])
    if faults and on_error == "raise":
        raise faults[0][1]
    return results
