"""What a frame of all tool calls costs beside reading the same columns bare: through ADBC, and through pandas.read_sql.

    python -m benchmarks.frames [--quick]

One database with 1,000,000 tool calls in 1,000 runs, written through the store as runs write it. Each side reads in a
process of its own, so that peaks of memory can be told apart; the median of three. Then the events of one run of
40,000, beside `json` and a DataFrame of the same lines.
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

import psutil

from benchmarks.fanout import Table
from jupyter_agent.records import Outcome, Principal, Run, RunStatus, Thread, ToolTrace
from jupyter_agent.storage import open_storage
from tests.live_server import TOKEN, LiveServer

OWNER = Principal(user_id="owner")
AT = datetime(2026, 1, 1, tzinfo=UTC)
OF_RUN = 1_000
ROUNDS = 3
SPANS = 20_000
EVENTS = 40_000
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


def from_store(path: Path) -> Callable[[], Any]:
    """The data folder, read without a server."""
    import jupyter_agent as ja

    return ja.open_store(path).tool_calls


def from_server(path: Path) -> Callable[[], Any]:
    """The data folder, as a server on it tells a client."""
    import jupyter_agent as ja

    home = tempfile.TemporaryDirectory()
    runner = asyncio.Runner()
    server = LiveServer(Path(home.name), options=(f"--AgentGateway.data_folder={path.parent}",))
    runner.run(server.start())
    client = ja.connect(server.url, TOKEN)
    ja.feedback()
    before = highest_of(server.pid)

    def end() -> None:
        client.close()
        runner.run(server.stop())
        home.cleanup()

    def read() -> Any:
        frame = ja.tool_calls()
        frame.attrs["peak"] = highest_of(server.pid) - before
        return frame

    atexit.register(end)
    return read


def computed_s() -> float:
    """Returns the seconds that this process computed, and those that it started: readers, a server."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return float(sum(sum(one.cpu_times()[:2]) for one in processes))


def highest_of(pid: int) -> int:
    """Returns the most bytes that a process and those that it started have had, each at its own time."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    told = [Path(f"/proc/{one.pid}/status").read_text() for one in processes]
    return sum(int(one.partition("VmHWM:")[2].split()[0]) * 1024 for one in told)


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


SIDES: dict[str, Callable[[Path], Callable[[], Any]]] = {
    "ours": ours,
    "store": from_store,
    "server": from_server,
    "bare": lambda path: partial(bare_adbc, path),
    "read_sql": lambda path: partial(read_sql, path),
}


def empty_frame() -> None:
    """Makes a frame of nothing: what pandas and Arrow load for their first one is loaded then."""
    from jupyter_agent.facts.columns import schema
    from jupyter_agent.facts.kinds import KINDS
    from jupyter_agent.frames.columns import to_frame

    columns = KINDS["tool_calls"].columns
    to_frame(schema(columns).empty_table(), columns)
    schema(columns).empty_table().to_pandas()


WAYS = {"ours": "the store's stream", "store": "ja.open_store(path)", "server": "ja.tool_calls() of a server"}


def measure(side: str, path: Path) -> None:
    """Prints seconds, peak bytes above what the process had before, and the frame's own bytes."""
    # What is loaded once is not counted.
    for name in ("pandas", "pyarrow", "sqlalchemy", "adbc_driver_sqlite.dbapi", *OWN):
        import_module(name)
    empty_frame()
    read = SIDES[side](path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    cpu_s, began = computed_s(), time.perf_counter()
    frame = read()
    seconds, cpu_s = time.perf_counter() - began, computed_s() - cpu_s
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    size = int(frame.memory_usage(deep=True).sum())
    said = {"seconds": seconds, "cpu_s": cpu_s, "peak": peak, "size": size, "rows": len(frame)}
    print(json.dumps(said | {"server": frame.attrs.get("peak", 0)}))


def beside_mlflow(table: Table, pace: float) -> None:
    """Adds what MLflow reads a second beside our pace, where it could be tried."""
    found = mlflow_reads(SPANS)
    if isinstance(found, str) or {found["rows"], found["frame_rows"]} != {SPANS}:
        print(f"MLflow was left out: {found if isinstance(found, str) else 'it read other spans than it wrote.'}")
        return
    for name, what in {"seconds": "search_traces", "frame_seconds": "a frame of its spans"}.items():
        theirs = SPANS / found[name]
        beside = f"facts read a second, beside MLflow {found['version']}, {SPANS:,} spans, {what}"
        table.add(beside, f"{pace:,.0f}/s", f"{theirs:,.0f}/s", f"{pace / theirs:.0f}", "≥ 50")


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


# --- one long run -----------------------------------------------------------------------------------------------------


def one_run(table: Table, events: int) -> None:
    """Adds what the events of one run of that many take, beside a DataFrame of its lines as `json` reads them."""
    import pandas as pd

    import jupyter_agent as ja
    from jupyter_agent.frames.store import FolderSource

    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        home = Path(folder)
        server = LiveServer(home, options=(f"--AgentGateway.data_folder={home / 'data'}",))
        runner.run(server.start())
        client = ja.connect(server.url, TOKEN)
        try:
            run = ja.run("Go.", model="scripted", script=[{"text": "ab " * events, "chunk": 3}], show=False)
            run.result()
            store = ja.open_store(home / "data")
            lines = [line for some in FolderSource(home / "data")._lines(run.id, None) for line in some]

            def opened() -> Any:
                other = ja.connect(server.url, TOKEN)
                try:
                    again = ja.open(run.id)
                    again.result()  # all of it is there
                    return again.events.df
                finally:
                    other.close()

            ways = {
                "bare": lambda: pd.DataFrame([json.loads(line) for line in lines]),
                "run.events.df": lambda: run.events.df,
                "ja.open(id).events.df, with its replay": opened,
                "ja.events(run=id)": lambda: ja.events(run=run.id),
                "ja.open_store(path).events(run=id)": lambda: store.events(run=run.id),
            }
            took = {name: timed(way, len(lines)) for name, way in ways.items()}
        finally:
            ja.connect(server.url, TOKEN).close()
            client.close()
            runner.run(server.stop())
    bare = took.pop("bare")
    for name, seconds in took.items():
        what = f"one run of {len(lines):,} events, {name}"
        table.add(what, f"{seconds:.2f} s", f"{bare:.2f} s", f"{seconds / bare:.2f}", "< 0.5 s")


def timed(way: Callable[[], Any], rows: int) -> float:
    """Returns the median of the seconds that it takes to get a frame with so many rows."""
    if len(way()) != rows:
        raise RuntimeError(f"There are not {rows} rows.")
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        way()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


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
        bare, slow = told["bare"], told["read_sql"]
        for side, what in WAYS.items():
            mine = told[side]
            for name, other, wanted in (("ADBC", bare, "≤ 1.5"), ("pandas.read_sql", slow, "≤ 0.2")):
                ratio = f"{mine['seconds'] / other['seconds']:.2f} ({mine['cpu_s'] / other['cpu_s']:.2f})"
                took, beside = f"{mine['seconds']:.2f} s", f"{other['seconds']:.2f} s"
                table.add(f"{calls:,} tool calls as a frame, {what}, beside {name}", took, beside, ratio, wanted)
            peak, size = mine["peak"], mine["size"]
            memory = f"{peak / 2**20:,.0f} MiB", f"{size / 2**20:,.0f} MiB", f"{peak / size:.2f}"
            table.add(f"peak memory, {what}, beside the frame", *memory, "≤ 3")
        grown = told["server"]["server"]
        memory = f"{grown / 2**20:,.0f} MiB", f"{size / 2**20:,.0f} MiB", f"{grown / size:.2f}"
        table.add("peak memory of the server and its reader, beside the frame", *memory, "bounded")
        beside_mlflow(table, calls / told["ours"]["seconds"])
    one_run(table, 2_000 if asked.quick else EVENTS)
    print(f"\n{table}")


if __name__ == "__main__":
    main()
