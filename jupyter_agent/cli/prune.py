"""`jupyter agent prune`: deletes threads that were not used for long or take too much room, and shows before what would
go."""

import argparse
import asyncio
import re
from datetime import timedelta
from typing import Any, Final, NamedTuple

from ..client.client import Client
from ..client.discovery import gateway_of_process
from ..display import words
from ..exceptions import InvalidRequest
from ..journal import Journal, Projection
from ..journal.journal import UNUSED_S
from ..journal.retention import Limits, Plan, carry_out, choose, collect, delete_thread, unreferred
from ..records import SYSTEM, Thread
from ..storage import Storage
from .data import add_place, alone, storage_of


class Units(NamedTuple):
    """How people write an amount: the sizes of its units, an example, and what is a slip of the hand."""

    sizes: dict[str, int]
    example: str
    most: float


TIME: Final = Units({"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}, "30d or 12h", 1e10)
SIZE: Final = Units(
    {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
     "TiB": 2**40}, "5GB or 500MB", 1e18,
)  # fmt: skip
SHOWN: Final = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--older-than", metavar="30d", help="threads that were not changed for this long: 30d, 12h, 4w")
    parser.add_argument(
        "--larger-than", metavar="5GB", help="the longest unchanged threads, while the data folder holds more: 5GB"
    )
    parser.add_argument("--dry-run", action="store_true", help="only show what would go")
    add_place(parser)


def main(options: argparse.Namespace) -> int:
    limits = Limits(
        older_than=timedelta(seconds=_number(options.older_than, TIME)) if options.older_than else None,
        larger_than=int(_number(options.larger_than, SIZE)) if options.larger_than else None,
    )
    if limits.are_none:
        raise InvalidRequest("Say what may go: --older-than 30d, --larger-than 5GB or both; --dry-run only shows it.")
    storage = storage_of(options)
    if storage.is_shared:
        # Servers that use it prune it beside one another, and so does this process.
        _tell(asyncio.run(_prune(storage, limits, is_dry=options.dry_run)), where=storage.name)
        return 0
    if (pid := storage.lock.owner()) is not None and (gateway := gateway_of_process(pid)) is not None:
        client = Client(gateway)
        try:
            said = client.wait(_ask(client, limits, is_dry=options.dry_run))
        finally:
            client.close()
        _tell(said, where=f"the server at {gateway.url}")
        return 0
    with alone(storage):
        said = asyncio.run(_prune(storage, limits, is_dry=options.dry_run))
    _tell(said, where=storage.name)
    return 0


def _number(text: str, units: Units) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    unit = found and next((size for name, size in units.sizes.items() if name.lower() == found[2].lower()), None)
    if not found or unit is None or float(found[1]) * unit > units.most:
        raise InvalidRequest(f"{text!r} is no such amount: write for example {units.example}.")
    return float(found[1]) * unit


async def _ask(client: Client, limits: Limits, *, is_dry: bool) -> dict[str, Any]:
    """Has the server that uses the folder do it."""
    older = None if limits.older_than is None else limits.older_than.total_seconds()
    body = {"olderThanS": older, "largerThan": limits.larger_than, "dryRun": is_dry}
    said: dict[str, Any] = await client.request("POST", "prune", body=body, timeout_s=3600.0)
    return said


async def _prune(storage: Storage, limits: Limits, *, is_dry: bool) -> dict[str, Any]:
    await storage.rows.open()
    projection = Projection(storage.rows, storage.blobs)
    unused_s = UNUSED_S if storage.is_shared else 0.0
    journal = Journal(storage.lines, storage.blobs, observer=projection, unused_s=unused_s)

    async def delete(thread: Thread) -> None:
        await delete_thread(thread.thread_id, storage, journal)

    try:
        plan = await choose(storage, limits, by=SYSTEM)
        if is_dry:
            return _said(storage, plan, await unreferred(storage), is_dry=True)
        done = await carry_out(plan, storage, delete=delete)
        await journal.sweep()
        blobs = await collect(storage)
        await storage.rows.shrink()
        return _said(storage, done, blobs, is_dry=False)
    finally:
        await journal.aclose()
        await projection.aclose()
        await storage.close()


def _said(storage: Storage, plan: Plan, blobs: dict[str, int], *, is_dry: bool) -> dict[str, Any]:
    """Returns it in the words of the server's answer. What a database holds is not known."""
    return {
        "dryRun": is_dry,
        "threads": len(plan.threads),
        "runs": plan.runs,
        "blobs": len(blobs),
        "bytes": plan.bytes + sum(blobs.values()),
        "bytesBefore": None if storage.is_shared else plan.bytes_before,
        "items": [
            {"thread": {"threadId": one.thread.thread_id, "title": one.thread.title,
                        "updatedAt": one.thread.updated_at.isoformat()}, "runs": one.runs, "bytes": one.bytes}
            for one in plan.threads
        ],
    }  # fmt: skip


def _tell(said: dict[str, Any], *, where: str) -> None:
    for one in said["items"][:SHOWN]:
        thread = one["thread"]
        title = " ".join(str(thread.get("title") or "").split())[:60]
        print(f"{thread['threadId']}  {thread['updatedAt'][:10]}  {one['runs']} runs  {_amount(one['bytes'])}  "
              f"{words.plain(title)}".rstrip())  # fmt: skip
    if said["threads"] > SHOWN:
        print(f"… and {said['threads'] - SHOWN} more threads")
    would = "would go" if said["dryRun"] else "are gone"
    of_all = "" if said["bytesBefore"] is None else f" of {_amount(said['bytesBefore'])}"
    print(
        f"{where}: {said['threads']} threads with {said['runs']} runs and {said['blobs']} blobs that nobody refers to "
        f"{would}, {_amount(said['bytes'])}{of_all}."
    )


def _amount(size: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
