"""What an edited prompt costs when a workflow is run again: by content, and by position as others resume.

    python -m benchmarks.money [--calls 60]

A fan-out over a real server with the `echo` model: one call reads, many review what it read, one merges their answers.
Then one reviewer's prompt is edited and all of it is run again. By position the first call that differs from what was
recorded at its place, and every one after it, run again; by content those whose own words changed.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks.workflow import opened
from jupyter_agent.client.workflow import CallRow, Workflow
from tests.live_server import LiveServer

CODE = "def area(width, height):\n    return width * height\n" * 20


class Spent(NamedTuple):
    calls: int
    tokens: int


async def review(wf: Workflow, reviewers: int, *, edited: int | None = None) -> list[CallRow]:
    """Reads, reviews and merges; returns its calls in the order in which they were made."""
    code = await wf.agent(f"Repeat this module:\n{CODE}", label="read", tools=[])
    prompts = [
        f"Review line {number} of the module{' with care' if number == edited else ''}:\n{code}"
        for number in range(reviewers)
    ]
    calls = [wf.agent(prompt, label=f"line {number}", tools=[]) for number, prompt in enumerate(prompts)]
    views = await wf.parallel(calls, on_error="raise")
    # A merge as people write it: of what each reviewer said first.
    await wf.agent("Merge:\n" + "\n".join(view.splitlines()[0] for view in views), label="merge", tools=[])
    return list(wf.calls)


def by_position(before: list[CallRow], now: list[CallRow]) -> Spent:
    """Returns what the rule of those costs that resume by position, over the same calls."""
    same = 0
    for was, row in zip(before, now, strict=False):
        if was.key != row.key:
            break
        same += 1
    again = now[same:]
    return Spent(len(again), sum(tokens_of(row) for row in again))


def by_content(now: list[CallRow]) -> Spent:
    live = [row for row in now if not row.reused]
    return Spent(len(live), sum(row.tokens or 0 for row in live))


def tokens_of(row: CallRow) -> int:
    """Returns what a call took when it ran, now or before."""
    return (row.tokens or 0) + (row.saved_tokens or 0)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=60)
    calls = parser.parse_args().calls
    reviewers = calls - 2
    places = {"first": 0, "middle": reviewers // 2, "last": reviewers - 1}
    with tempfile.TemporaryDirectory() as home:
        async with LiveServer(Path(home)) as server:
            print("| edited of its prompts | by content | by position | tokens, of position's |\n|---|---:|---:|---:|")
            for name, place in places.items():
                wf = opened(server, f"money-{name}")
                try:
                    before = await review(wf, reviewers)
                    wf.new_pass()
                    now = await review(wf, reviewers, edited=place)
                finally:
                    await asyncio.to_thread(wf._client.close)
                ours, theirs = by_content(now), by_position(before, now)
                whole = sum(map(tokens_of, now))
                print(
                    f"| the {name} reviewer's, {calls} calls, {whole:,} tokens | {ours.calls} calls, "
                    f"{ours.tokens:,} tokens | {theirs.calls} calls, {theirs.tokens:,} tokens | "
                    f"{ours.tokens / theirs.tokens:.0%} |",
                    flush=True,
                )


if __name__ == "__main__":
    asyncio.run(main())
