"""`jupyter agent check`: looks whether journals, archives, blobs and rows are whole, and mends what can be mended."""

import argparse
import asyncio
from contextlib import nullcontext

from ..journal.check import Report, check
from ..storage import Storage
from .data import add_place, alone, storage_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--repair",
        action="store_true",
        help="set aside what is damaged and write rows again; nothing is deleted. Stop the server before",
    )
    add_place(parser)


def main(options: argparse.Namespace) -> int:
    storage = storage_of(options)
    with alone(storage) if options.repair else nullcontext():
        report = asyncio.run(_check(storage, repair=options.repair))
    for problem in report.problems:
        print(f"{problem.where}: {problem.what}" + (f" → {problem.mended}" if problem.mended else ""))
    print(
        f"{storage.name}: {report.runs} runs, {report.journals} journals, {report.archives} archives, "
        f"{report.events} events, {report.blobs} blobs ({report.unreferenced} that nobody refers to)."
    )
    if report.is_whole:
        print("Everything is whole." if not report.problems else "Everything that was wrong is mended.")
        return 0
    left = sum(problem.mended is None for problem in report.problems)
    servers = "all servers that use it" if storage.is_shared else "the server"
    print(f"{left} problems are left." + ("" if options.repair else f" Stop {servers} and run it with --repair."))
    return 1


async def _check(storage: Storage, *, repair: bool) -> Report:
    await storage.rows.open()
    try:
        return await check(storage, repair=repair)
    finally:
        await storage.close()
