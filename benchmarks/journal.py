"""What the journal costs beside a bare loop that writes, reads or hands over the same bytes, in one process.

python -m benchmarks.journal [--quick]
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from jupyter_agent import events as ev
from jupyter_agent.journal import Journal, Projection
from jupyter_agent.records import RunStatus, Usage
from jupyter_agent.storage import Storage, open_storage

EVENT = ev.AgentEvent(event=ev.TextDelta(content="a word or two of text, as models stream. "))
STARTED = ev.RunStarted(thread_id="t", user_id="owner", agent="default", model="echo", input=())
ENDED = ev.SessionComplete(status=RunStatus.COMPLETED, usage=Usage())
ROUNDS = 3


async def measure(name: str, count: int, ours: Callable[[], Awaitable[None]], bare: Callable[[], object]) -> None:
    """Prints the median of both sides, which take turns, and their ratio."""
    mine, other = [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        bare()
        other.append(time.perf_counter() - began)
        began = time.perf_counter()
        await ours()
        mine.append(time.perf_counter() - began)
    took, beside = statistics.median(mine), statistics.median(other)
    print(f"| {name:44} | {count / took:>11,.0f}/s | {count / beside:>11,.0f}/s | {beside / took:5.2f} |", flush=True)


class Bench:
    def __init__(self, storage: Storage, journal: Journal, count: int) -> None:
        self.storage, self.journal, self.count = storage, journal, count
        self.runs = 0
        self.lines: list[bytes] = []

    async def opened(self) -> str:
        self.runs += 1
        run_id = f"run_{self.runs}"
        await self.journal.open(run_id)
        await self.journal.append(run_id, STARTED)
        return run_id

    async def append(self, *, ends: bool = True, followers: int = 0) -> str:
        run_id = await self.opened()
        tasks = [asyncio.create_task(self.follow(run_id)) for _ in range(followers)]
        await asyncio.sleep(0)
        append = self.journal.append
        for _ in range(self.count):
            await append(run_id, EVENT)
        if ends:
            await append(run_id, ENDED)
            await asyncio.gather(*tasks)
            await self.journal.close(run_id)
        return run_id

    async def follow(self, run_id: str) -> int:
        seen = 0
        async for batch in self.journal.follow(run_id):
            for _line in batch.lines:
                seen += 1
        return seen

    async def commit(self, number: int) -> None:
        run_id = await self.opened()
        for _ in range(number):
            await self.journal.append(run_id, ev.InputRequest(request_id="q", prompt="?"))
        await self.journal.close(run_id)

    # --- the bare sides

    def bare_write(self) -> None:
        """Writes the same bytes with one system call each."""
        handle = os.open(self.storage.folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for line in self.lines:
            os.write(handle, line + b"\n")
        os.close(handle)

    def bare_commit(self, number: int) -> None:
        handle = os.open(self.storage.folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for line in self.lines[:number]:
            os.write(handle, line + b"\n")
            os.fdatasync(handle)
        os.close(handle)

    def bare_read(self) -> int:
        seen = 0
        with (self.storage.folder / "bare").open("rb") as file:
            for _line in file:
                seen += 1
        return seen


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        storage = open_storage(Path(folder))
        await storage.rows.open()
        projection = Projection(storage.rows, storage.blobs)
        bench = Bench(storage, Journal(storage.lines, storage.blobs, observer=projection), count)
        first = await bench.append()
        bench.lines = [line async for batch in bench.journal.follow(first) for line in batch.lines]
        print(f"{count:,} events of {len(bench.lines[5])} bytes")
        print(f"| {'what':44} | {'journal':>13} | {'bare':>13} | ratio |\n|---|---:|---:|---:|")

        async def append() -> None:
            await bench.append()

        async def watched(followers: int) -> None:
            await bench.append(followers=followers)

        async def replay() -> None:
            await bench.follow(first)

        async def commits() -> None:
            await bench.commit(count // 200)

        commit_count = count // 200
        await measure("append, beside os.write", count, append, bench.bare_write)
        await measure("append with 1 follower, beside os.write", count, lambda: watched(1), bench.bare_write)
        await measure("append with 100 followers, beside os.write", count, lambda: watched(100), bench.bare_write)
        await measure(
            "commit points one by one, beside fdatasync", commit_count, commits, lambda: bench.bare_commit(commit_count)
        )
        (storage.folder / "bare").unlink()
        bench.bare_write()
        await measure("replay of a journal, beside reading lines", count, replay, bench.bare_read)
        await bench.journal.archive(first)
        storage.lines.delete(first)
        await measure("replay of an archive, beside reading lines", count, replay, bench.bare_read)
        await bench.journal.aclose()
        await projection.aclose()
        await storage.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the events")
    asyncio.run(main(10_000 if parser.parse_args().quick else 100_000))
