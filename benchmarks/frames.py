"""What a frame of all tool calls costs beside reading the same columns bare: through ADBC, and through pandas.read_sql.

    python -m benchmarks.frames [--quick]

One database with 1,000,000 tool calls in 1,000 runs, written through the store as runs write it. Each side reads in a
process of its own, so that peaks of memory can be told apart; the median of three.
"""

import argparse
import asyncio
import atexit
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.fanout import Table
from jupyter_agent.records import Outcome, Principal, Run, RunStatus, Thread, ToolTrace
from jupyter_agent.storage import open_storage

OWNER = Principal(user_id="owner")
AT = datetime(2026, 1, 1, tzinfo=UTC)
OF_RUN = 1_000
ROUNDS = 3
SPANS = 20_000
PEER = Path(tempfile.gettempdir()) / "jupyter_agent-benchmark-mlflow"
"""Where MLflow is installed when it is first needed."""
COLUMNS = (
    "run_id, turn, position, attempt, tool_call_id, tool_name, tool_input, decision, outcome, latency_ms, started_at, "
    "finished_at, tool_output, blob, error, tokens_used, cache_tokens, reasoning_tokens, thread_id"
)
OWN = ("jupyter_agent.frames.columns", "jupyter_agent.storage.facts", "jupyter_agent.gateway.frames")
READ_SQL = f"SELECT {COLUMNS} FROM tool_traces"  # noqa: S608 - both are ours


async def fill(folder: Path, calls: int) -> float:
    """Writes so many tool calls and returns how many a second the store took."""
    storage = open_storage(folder)
    await storage.rows.open()
    await storage.rows.create_thread(Thread(thread_id="t", user_id="owner", created_at=AT, updated_at=AT))
    spent = 0.0
    for number in range(calls // OF_RUN):
        run = Run(
            run_id=f"run_{number:020}", thread_id="t", user_id="owner", status=RunStatus.COMPLETED, agent="a",
            model=f"m{number % 3}", created_at=AT + timedelta(seconds=number), updated_at=AT,
        )  # fmt: skip
        await storage.rows.create_run(run)
        traces = [trace_of(run, place) for place in range(OF_RUN)]
        began = time.perf_counter()
        await storage.rows.project([run], [], [], traces=traces)
        spent += time.perf_counter() - began
    await storage.close()
    return calls / spent


def trace_of(run: Run, place: int) -> ToolTrace:
    at = AT + timedelta(seconds=place)
    return ToolTrace(
        run_id=run.run_id, thread_id="t", turn=place // 4, position=place % 4, tool_call_id=f"call_{place % 7}",
        tool_name=f"tool_{place % 9}", tool_input='{"path": "data/survey.csv", "max_lines": 40}',
        tool_output="a line of what was read\n" * 4, outcome=Outcome.SUCCESS if place % 11 else Outcome.ERROR,
        error=None if place % 11 else "There is no such file.", trace_id=f"trc_{place}", started_at=at,
        finished_at=at + timedelta(milliseconds=place), latency_ms=float(place),
    )  # fmt: skip


# --- the sides, each in a process of its own --------------------------------------------------------------------------


def ours(path: Path) -> Callable[[], Any]:
    """The store's Arrow stream, made a frame as `ja.tool_calls()` makes it; without the socket between. The process
    that reads is there, as a server keeps it at hand."""
    import pyarrow as pa

    from jupyter_agent.facts.kinds import KINDS
    from jupyter_agent.facts.query import Wanted
    from jupyter_agent.frames.columns import to_frame
    from jupyter_agent.gateway.frames import ArrowPieces
    from jupyter_agent.storage.facts import FactReader

    reader = FactReader(path)
    list(reader.read(Wanted(kind="feedback", by=OWNER)))

    def read() -> Any:
        pieces = ArrowPieces()
        told = [pieces.add(batch) for batch in reader.read(Wanted(kind="tool_calls", by=OWNER))]
        stream = b"".join([*told, pieces.end()])
        return to_frame(pa.ipc.open_stream(stream).read_all(), KINDS["tool_calls"].columns)

    atexit.register(reader.close)
    return read


def bare_adbc(path: Path) -> Any:
    from adbc_driver_sqlite import dbapi

    with dbapi.connect(f"{path.as_uri()}?mode=ro") as connection, connection.cursor() as cursor:
        cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": "65536"})
        # With a row that has everything, or the driver takes a column that begins with nothing for a number.
        cursor.execute(f"{READ_SQL} ORDER BY error IS NULL")
        return cursor.fetch_arrow_table().to_pandas()


def read_sql(path: Path) -> Any:
    import pandas as pd
    import sqlalchemy as sa

    with sa.create_engine(f"sqlite:///{path}").connect() as connection:
        return pd.read_sql(sa.text(READ_SQL), connection, parse_dates=["started_at", "finished_at"])


SIDES = {"ours": ours, "bare": lambda path: partial(bare_adbc, path), "read_sql": lambda path: partial(read_sql, path)}


def measure(side: str, path: Path) -> None:
    """Prints seconds, peak bytes above what the process had before, and the frame's own bytes."""
    # What is loaded once is not counted.
    for name in ("pandas", "pyarrow", "sqlalchemy", "adbc_driver_sqlite.dbapi", *OWN):
        import_module(name)

    read = SIDES[side](path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    began = time.perf_counter()
    frame = read()
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    size = int(frame.memory_usage(deep=True).sum())
    print(json.dumps({"seconds": seconds, "peak": peak, "size": size, "rows": len(frame)}))


def beside_mlflow(table: Table, pace: float) -> None:
    """Adds what MLflow reads a second beside our pace, where it could be tried."""
    found = mlflow_reads(SPANS)
    if isinstance(found, str) or found["rows"] != SPANS:
        print(f"MLflow was left out: {found if isinstance(found, str) else 'it read other spans than it wrote.'}")
        return
    theirs = SPANS / found["seconds"]
    what = f"facts read a second, beside MLflow {found['version']} of {SPANS:,} spans"
    table.add(what, f"{pace:,.0f}/s", f"{theirs:,.0f}/s", f"{pace / theirs:.0f}", "≥ 50")


def measured(side: str, path: Path, rows: int) -> dict[str, float]:
    found = []
    for _ in range(ROUNDS):
        command = [sys.executable, "-m", "benchmarks.frames", "--side", side, "--path", str(path)]
        said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        if said["rows"] != rows:
            raise RuntimeError(f"{side} read {said['rows']} of {rows} rows.")
        found.append(said)
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def mlflow_reads(spans: int) -> dict[str, Any] | str:
    """Returns what MLflow took to read so many spans, or why it could not be tried.

    It is installed into an environment of its own, once: what it depends on stays out of ours.
    """
    with tempfile.TemporaryDirectory() as folder:
        python = PEER / "bin" / "python"
        try:
            if not python.exists():
                venv.create(PEER, with_pip=True)
                subprocess.run([python, "-m", "pip", "install", "--quiet", "mlflow"], check=True, capture_output=True)
            command = [python, Path(__file__).with_name("peer_spans.py"), folder, str(spans)]
            done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
        except (OSError, subprocess.CalledProcessError) as fault:
            said = getattr(fault, "stderr", None) or str(fault)
            return str(said.decode() if isinstance(said, bytes) else said).strip().splitlines()[-1]
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="50,000 tool calls, to see that it works")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        measure(asked.side, asked.path)
        return
    calls = 50_000 if asked.quick else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        pace = asyncio.run(fill(Path(folder), calls))
        path = Path(folder) / "jupyter_agent.db"
        table = Table()
        table.add("tool calls written, in batches of 1,000", f"{pace:,.0f}/s", "", "", "≥ 20,000/s")
        told = {side: measured(side, path, calls) for side in SIDES}
        mine, bare, slow = told["ours"], told["bare"], told["read_sql"]
        what, took = f"{calls:,} tool calls as a frame", f"{mine['seconds']:.2f} s"
        for name, other, wanted in (("ADBC", bare, "≤ 1.5"), ("pandas.read_sql", slow, "≤ 0.2")):
            ratio = f"{mine['seconds'] / other['seconds']:.2f}"
            table.add(f"{what}, beside {name}", took, f"{other['seconds']:.2f} s", ratio, wanted)
        beside_mlflow(table, calls / mine["seconds"])
        peak, size = mine["peak"], mine["size"]
        ratio = f"{peak / size:.2f}"
        table.add("peak memory, beside the frame", f"{peak / 2**20:,.0f} MiB", f"{size / 2**20:,.0f} MiB", ratio, "≤ 3")
    print(f"\n{table}")


if __name__ == "__main__":
    main()
