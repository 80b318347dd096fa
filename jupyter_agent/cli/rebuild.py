"""`jupyter agent rebuild`: makes the database again from journals and blobs, which are the truth of runs."""

import argparse
import asyncio
import sys
import time

from ..exceptions import InvalidRequest, StorageError
from ..journal.rebuild import Rebuilt, rebuild
from ..storage import Storage, set_database_aside
from .data import add_place, alone, storage_of

DAMAGE = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--anew",
        action="store_true",
        help="set a data folder's database aside and make a new one; titles and metadata of threads, which only it "
        "holds, are lost",
    )
    add_place(parser)


def main(options: argparse.Namespace) -> int:
    storage = storage_of(options)
    if options.anew and storage.is_shared:
        raise InvalidRequest(
            f"In {storage.name} journals and blobs stand beside the rows, so it cannot be set aside. Without --anew "
            "all rows are written again from them in place; a database that is damaged comes back from a backup."
        )
    began = time.monotonic()
    with alone(storage):
        if options.anew:
            sys.stderr.write(f"The database was set aside as {set_database_aside(storage.folder)}.\n")
        done = asyncio.run(_rebuild(storage))
    for run_id, fault in done.skipped.items():
        sys.stderr.write(f"Run {run_id} was left as it is: {fault}\n")
    print(
        f"{done.from_journals} runs from journals, {done.from_archives} from archives, {done.turns} turns; "
        f"{done.new_rows} had no row. {time.monotonic() - began:.1f} s."
    )
    return 1 if done.skipped else 0


async def _rebuild(storage: Storage) -> Rebuilt:
    try:
        await storage.rows.open()
    except StorageError as fault:
        if not str(fault.details.get("sqlite")).startswith(DAMAGE):
            raise
        # The file is kept, and what it knew of runs stands in their journals.
        sys.stderr.write(f"{fault.message}\nIt was set aside as {set_database_aside(storage.folder)}.\n")
        await storage.rows.open()
    try:
        return await rebuild(storage)
    finally:
        await storage.close()
