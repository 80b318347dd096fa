"""Cold start of a workflow's run in the sandbox, and the memory of 1,000 runs that wait for people.

python -m benchmarks.sandbox [--runs 1000]
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil

from jupyter_agent.workflow.carrying import Carrying
from jupyter_agent.workflow.dumps import Dumps
from jupyter_agent.workflow.limits import Limits
from jupyter_agent.workflow.sandbox import Sandbox
from tests.workflow.hosts import BEGAN, LoudHost, script_of

ROUNDS = 40
WAITS = script_of("notes = [str(n) for n in range(200)]\ncolour = await ask('Which colour?')\n[len(notes), colour]")
SHORT = script_of("1 + 1")


async def seconds_of(start: Callable[[], Awaitable[object]]) -> list[float]:
    """Returns how long each of some starts took."""
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        await start()
        took.append(time.perf_counter() - began)
    return sorted(took)


async def cold_starts() -> list[tuple[str, list[float]]]:
    """Times a run of one short cell: in a process made for it, in one that is there, and beside both a bare Python."""

    async def bare() -> None:
        command = [sys.executable, "-I", "-S", "-c", "1 + 1"]
        await asyncio.to_thread(subprocess.run, command, check=True)

    rows = [("a bare Python process that adds 1 and 1", await seconds_of(bare))]
    for name, sessions in (("a run in a process made for it", 1), ("a run in a worker that is there", 10_000)):
        async with Sandbox(workers=1, sessions_per_worker=sessions) as sandbox:

            async def run(sandbox: Sandbox = sandbox) -> None:
                await Carrying(sandbox, SHORT, LoudHost(), run_id="run", began_at=BEGAN).run()

            rows.append((name, await seconds_of(run)))
    return rows


def memory() -> int:
    """Returns the bytes of this process and its workers."""
    me = psutil.Process()
    total = me.memory_info().rss
    for child in me.children(recursive=True):
        total += child.memory_info().rss
    return total


async def waiting(runs: int) -> dict[str, float]:
    """Has so many runs wait for a person, all at once, then lets them go."""
    with tempfile.TemporaryDirectory() as folder:
        async with Sandbox(workers=4) as sandbox:
            host = LoudHost()
            dumps = Dumps(Path(folder), sandbox="1.4.0")
            before = memory()
            began = time.perf_counter()
            limits = Limits(hold_s=0.01)
            tasks = [
                asyncio.create_task(
                    Carrying(sandbox, WAITS, host, run_id=f"run_{n}", began_at=BEGAN, limits=limits, dumps=dumps).run()
                )
                for n in range(runs)
            ]
            kept = Path(folder) / "workflow-dumps"
            while len(host.asked) < runs or sum(1 for _ in kept.iterdir()) < runs:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            started = time.perf_counter() - began
            during = memory()
            size = sum(file.stat().st_size for file in kept.iterdir()) / runs
            began = time.perf_counter()
            host.let_go.set()
            assert await asyncio.gather(*tasks) == [[200, "blue"]] * runs
            woken = time.perf_counter() - began
    return {"before": before, "during": during, "dump": size, "started": started, "woken": woken}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    options = parser.parse_args()
    starts = await cold_starts()
    base = statistics.median(starts[0][1])
    print("| start | p50 | p95 | ratio |\n|---|---|---|---|")
    for name, took in starts:
        p50, p95 = statistics.median(took), took[int(len(took) * 0.95)]
        print(f"| {name} | {p50 * 1e3:.1f} ms | {p95 * 1e3:.1f} ms | {p50 / base:.2f} |")
    told = await waiting(options.runs)
    mib = 1 << 20
    print(f"\n| {options.runs:,} runs that wait for people | |\n|---|---|")
    print(f"| memory of server process and workers before | {told['before'] / mib:.0f} MiB |")
    print(f"| more while all wait | {(told['during'] - told['before']) / mib:.0f} MiB |")
    print(f"| a dump | {told['dump'] / 1024:.1f} KiB |")
    print(f"| until all had started and waited | {told['started']:.1f} s |")
    print(f"| until all had gone on and ended | {told['woken']:.1f} s |")


if __name__ == "__main__":
    asyncio.run(main())
