"""What the store's lists, writes and starts cost among many, on SQLite and PostgreSQL, beside bare drivers.

    python -m benchmarks.storage [--quick] [--postgres URL] [--only lists,traces,crowd,restart]

Without a URL PostgreSQL is a server of the tests, which syncs nothing; with one it is that server, in a database of
its own that is dropped in the end.
"""

import argparse
import asyncio
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import psycopg
import sqlalchemy as sa

from benchmarks.fanout import Table
from benchmarks.frames import AT, OWNER, trace_of
from jupyter_agent.records import Run, RunStatus, Thread
from jupyter_agent.runtime import RunnerSettings
from jupyter_agent.storage import DATABASE, Storage, open_storage
from jupyter_agent.storage.cursors import Key, encode_cursor
from jupyter_agent.storage.tables import run_values, runs, thread_values, threads, trace_values
from tests.live_server import LiveServer
from tests.postgres import Server
from tests.runtime.conftest import ALICE, World

PARTS = ("lists", "traces", "crowd", "restart")
THREADS = 1_000
TIMES = 30
BATCH = 1_000
BEAT_S = 0.005
TRIED = 20
"""Runs that are started before the crowd, to see how long that takes."""
DATABASE_OF_OURS = "jupyter_agent_benchmark"


class Dose(NamedTuple):
    """How much there is of everything."""

    runs: int = 1_000_000
    traces: int = 400_000
    crowd: int = 1_000
    turns: int = 4
    turn_s: float = 10.0
    ended: int = 10_000
    starts: int = 7


QUICK = Dose(runs=20_000, traces=20_000, crowd=50, turns=2, turn_s=2.0, ended=100, starts=2)


def median_ms(seconds: Sequence[float]) -> float:
    return statistics.median(seconds) * 1_000


# --- lists ------------------------------------------------------------------------------------------------------------


async def fill_runs(storage: Storage, count: int) -> None:
    """Makes so many runs in a thousand threads inside the database: one in a thousand failed, one in two thousand was
    interrupted, few are of another model or have a parent."""
    one = Run(
        run_id="r", thread_id="t0", user_id="owner", status=RunStatus.COMPLETED, agent="default", model="usual",
        created_at=AT, updated_at=AT,
    )  # fmt: skip
    thread = thread_values(Thread(thread_id="t", user_id="owner", created_at=AT, updated_at=AT, title="Survey"))

    async def fill(db: Any) -> None:
        names = [thread | {"thread_id": f"t{number}"} for number in range(THREADS)]
        await db.execute(sa.insert(threads), names)
        await db.execute(sa.insert(runs), [run_values(one)])
        number = sa.select(sa.literal(1).label("at")).cte("numbers", recursive=True)
        number = number.union_all(sa.select(number.c.at + 1).where(number.c.at < count))
        at, second = number.c.at, int(AT.timestamp()) + number.c.at
        made = {
            "run_id": sa.literal("run_", sa.Text) + sa.cast(at + 10_000_000, sa.Text),
            "thread_id": sa.literal("t", sa.Text) + sa.cast(at % THREADS, sa.Text),
            "parent_run_id": sa.case((at % 1_000 == 7, "run_10000001"), else_=None),
            "status": sa.case((at % 1_000 == 1, "error"), (at % 2_000 == 2, "interrupted"), else_="completed"),
            "model": sa.case((at % 5_000 == 4, "rare"), else_="usual"),
            "created_at": sa.func.strftime("%Y-%m-%d %H:%M:%S.000000", second, "unixepoch")
            if db.dialect.name == "sqlite"
            else sa.func.to_timestamp(second),
        }
        rest = [column for column in runs.c if column.name not in made]
        chosen = sa.select(*made.values(), *rest).select_from(number.join(runs, runs.c.run_id == "r"))
        await db.execute(sa.insert(runs).from_select([*made, *(column.name for column in rest)], chosen))

    await storage.rows._write(fill)
    if storage.is_shared:
        # As the server does by itself within minutes.
        await storage.rows._write(lambda db: db.execute(sa.text("ANALYZE")))


CHOICES: dict[str, dict[str, Any]] = {
    "all of one's runs": {},
    "of a thread": {"thread_id": "t7"},
    "of a parent": {"parent_run_id": "run_10000001"},
    "of a parent and a thread": {"parent_run_id": "run_10000001", "thread_id": "t7"},
    "completed": {"statuses": [RunStatus.COMPLETED]},
    "failed": {"statuses": [RunStatus.ERROR]},
    "failed or interrupted": {"statuses": [RunStatus.ERROR, RunStatus.INTERRUPTED]},
    "waiting, of which there are none": {"statuses": [RunStatus.WAITING_CONFIRMATION]},
    "failed, of a thread": {"statuses": [RunStatus.ERROR], "thread_id": "t7"},
    "completed, of a thread": {"statuses": [RunStatus.COMPLETED], "thread_id": "t7"},
    "of a rare model": {"model": "rare"},
    "of a model that there is not": {"model": "none"},
    "failed, of the usual model": {"statuses": [RunStatus.ERROR], "model": "usual"},
    "failed, of a rare model": {"statuses": [RunStatus.ERROR], "model": "rare"},
    "of a rare model and a thread": {"model": "rare", "thread_id": "t4"},
}


async def lists(table: Table, storage: Storage, count: int, bare: Callable[[], list[Any]], name: str) -> None:
    """Adds what each choice takes, beside the newest rows by a bare driver."""
    beside = []
    for _ in range(TIMES):
        began = time.perf_counter()
        bare()
        beside.append(time.perf_counter() - began)
    took: dict[str, list[float]] = {}
    for what, choice in CHOICES.items():
        took[what] = [await _timed(storage.rows.list_runs(by=OWNER, limit=50, **choice)) for _ in range(TIMES)]
    middle = await storage.rows.get_run(f"run_{10_000_000 + count // 2}", by=OWNER)
    cursor = encode_cursor("runs", Key(middle.created_at, middle.run_id))
    took["a page from the middle"] = [
        await _timed(storage.rows.list_runs(by=OWNER, limit=50, cursor=cursor)) for _ in range(TIMES)
    ]
    for what, seconds in took.items():
        ours, other = median_ms(seconds), median_ms(beside)
        most = f"{ours:.1f} ms (at most {max(seconds) * 1_000:.1f})"
        table.add(f"{name}: 50 runs of {count:,}, {what}", most, f"{other:.1f} ms", f"{ours / other:.1f}", "< 20 ms")


async def _timed(work: Awaitable[Any]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


# --- traces -----------------------------------------------------------------------------------------------------------


async def traces(table: Table, storage: Storage, count: int, bare: Callable[[list[Any]], None], name: str) -> None:
    """Adds how many rows of tool calls the store takes a second, beside a bare driver with the same rows in a table
    with the same indexes, in the same batches, each of them durable. Both take turns."""
    await storage.rows.create_thread(Thread(thread_id="t", user_id="owner", created_at=AT, updated_at=AT))
    ours, beside = Spent(), Spent()
    for number in range(count // BATCH):
        run = Run(
            run_id=f"run_{number:020}", thread_id="t", user_id="owner", status=RunStatus.COMPLETED, agent="a",
            model="m", created_at=AT, updated_at=AT,
        )  # fmt: skip
        await storage.rows.create_run(run)
        found = [trace_of(run, place) for place in range(BATCH)]
        plain = [trace_values(trace) for trace in found]
        with ours:
            await storage.rows.project([run], [], [], traces=found)
        with beside:
            bare(plain)
    wanted = "" if storage.is_shared else "≥ 20,000/s"
    for what, mine, other in (
        ("", count / ours.seconds, count / beside.seconds),
        (" a second of this process's computing", count / ours.cpu_s, count / beside.cpu_s),
    ):
        label = f"{name}: {count:,} tool calls written{what}"
        table.add(label, f"{mine:,.0f}/s", f"{other:,.0f}/s", f"{mine / other:.2f}", wanted)


class Spent:
    """Adds up the seconds inside of it, by the clock and of this process's computing."""

    def __init__(self) -> None:
        self.seconds = self.cpu_s = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._began[0]
        self.cpu_s += time.process_time() - self._began[1]


# --- a crowd ----------------------------------------------------------------------------------------------------------


async def beats(until: Callable[[], bool]) -> list[float]:
    """Returns by how many seconds the loop was late, for every five milliseconds until then."""
    late: list[float] = []
    loop = asyncio.get_running_loop()
    while not until():
        due = loop.time() + BEAT_S
        await asyncio.sleep(BEAT_S)
        late.append(loop.time() - due)
    return late


async def crowd(table: Table, folder: Path, dose: Dose, url: str, name: str) -> None:
    """Adds how late the loop is while so many runs go on at once, each of them with a tool call every so many seconds.

    Scripted models, the real runner, journals and rows, all in this process's one loop.
    """
    chance = random.Random(7)
    began = time.monotonic()
    idle = await beats(lambda: time.monotonic() > began + 3.0)
    world = await World(folder, settings=RunnerSettings(), database_url=url).open()

    def script(start_s: float) -> list[dict[str, Any]]:
        call = {"name": "list_files", "arguments": {"pattern": "*"}}
        waits = [start_s + chance.uniform(0, dose.turn_s), *(dose.turn_s for _ in range(dose.turns - 1))]
        return [*({"wait_s": wait_s, "text": "I look. ", "calls": [call]} for wait_s in waits), {"text": "Done."}]

    trying = time.monotonic()
    tried = [await world.start([{"text": "Done."}]) for _ in range(TRIED)]
    # All have started before the first one goes on.
    starts_s = 2 * dose.crowd * (time.monotonic() - trying) / TRIED
    await asyncio.gather(*map(world.end, tried))
    starting = time.monotonic()
    for number in range(dose.crowd):
        left_s = starts_s - (time.monotonic() - starting)
        await world.start(script(max(left_s, 0.0)), metadata={"number": number})
    started_s = time.monotonic() - starting
    await asyncio.sleep(starts_s - started_s)
    going_on = len(world.runner.active_run_ids)
    process = psutil.Process()
    cpu_s, began = sum(process.cpu_times()[:2]), time.monotonic()
    late = sorted(await beats(lambda: not world.runner.active_run_ids))
    seconds, cpu_s = time.monotonic() - began, sum(process.cpu_times()[:2]) - cpu_s
    rows = world.storage.rows
    told = (await rows.list_runs(by=ALICE, limit=dose.crowd)).items
    found = sum([len((await rows.list_traces(run.run_id, by=ALICE)).items) for run in told])
    await world.close()
    if found != dose.crowd * dose.turns or going_on != dose.crowd:
        raise RuntimeError(f"{found} tool calls of {going_on} runs were written.")
    idle.sort()
    for part, label, wanted in ((0.5, "p50", ""), (0.99, "p99", "< 20 ms"), (0.999, "p99.9", ""), (1.0, "at most", "")):
        mine, other = (values[min(int(part * len(values)), len(values) - 1)] * 1_000 for values in (late, idle))
        what = f"{name}: lag of the loop, {dose.crowd:,} runs, {found / seconds:.0f} tool calls/s, {label}"
        table.add(what, f"{mine:.1f} ms", f"{other:.1f} ms", f"{mine / other:.1f}", wanted)
    table.add(f"{name}: its computing time", f"{cpu_s / seconds:.0%}", "", "", "")
    table.add(f"{name}: runs started one after the other", f"{dose.crowd / started_s:.0f}/s", "", "", "")


# --- restart ----------------------------------------------------------------------------------------------------------


async def end_runs(folder: Path, count: int) -> None:
    """Carries so many runs out to their end, a hundred at a time."""
    world = await World(folder, settings=RunnerSettings()).open()
    script = [{"calls": [{"name": "list_files", "arguments": {"pattern": "*"}}]}, {"text": "Done."}]
    for _ in range(0, count, 100):
        started = await asyncio.gather(*(world.start(script) for _ in range(100)))
        await asyncio.gather(*map(world.end, started))
    await world.close()


async def restart(table: Table, folder: Path, dose: Dose) -> None:
    """Adds what a server takes to start with so many ended runs, beside one with none. They take turns."""
    await end_runs(folder / "many", dose.ended)
    took: dict[str, list[tuple[float, float]]] = {"many": [], "none": []}
    for number in range(dose.starts + 1):
        for name, found in took.items():
            data = folder / name / "data"
            server = LiveServer(folder / f"home-{name}", options=(f"--AgentGateway.data_folder={data}",))
            began = time.monotonic()
            await server.start()
            seconds, cpu = time.monotonic() - began, psutil.Process(server.pid).cpu_times()
            await server.stop()
            if number:  # the first start makes folders and databases
                found.append((seconds, cpu.user + cpu.system))
    for place, what in enumerate(("by the clock", "of computing")):
        mine, other = (median_ms([one[place] for one in took[name]]) for name in ("many", "none"))
        more = f"{mine - other:+.0f} ms"
        table.add(
            f"start of a server with {dose.ended:,} ended runs, {what}",
            f"{mine:,.0f} ms",
            f"{other:,.0f} ms",
            more,
            "< +100 ms",
        )


# --- databases --------------------------------------------------------------------------------------------------------


@contextmanager
def bare_sqlite(folder: Path) -> Iterator[sqlite3.Connection]:
    """A connection of the driver alone, set up as ours are."""
    connection = sqlite3.connect(folder / DATABASE, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")
    yield connection
    connection.close()


@contextmanager
def postgres(url: str | None) -> Iterator[tuple[str, str]]:
    """Gives the URL of an empty database, and how the server is called."""
    if url is None:
        server = Server()
        try:
            server.make()
            with server.new_database() as fresh:
                yield fresh, "PostgreSQL without fsync"
        finally:
            server.remove()
        return
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE_OF_OURS} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {DATABASE_OF_OURS} TEMPLATE template0 ENCODING 'UTF8'")
        try:
            yield sa.make_url(url).set(database=DATABASE_OF_OURS).render_as_string(hide_password=False), "PostgreSQL"
        finally:
            connection.execute(f"DROP DATABASE {DATABASE_OF_OURS} WITH (FORCE)")


def bare_table(bare: sqlite3.Connection, path: Path) -> Callable[[list[dict[str, Any]]], None]:
    """Makes the table of tool calls with its indexes, as the store's database has it, and returns what fills it."""
    with sqlite3.connect(path) as ours:
        for (statement,) in ours.execute("SELECT sql FROM sqlite_master WHERE tbl_name = 'tool_traces' AND sql != ''"):
            bare.execute(statement)

    def write(rows: list[dict[str, Any]]) -> None:
        names = list(rows[0])
        # Times as the store keeps them; the driver would do that more slowly.
        times = {"started_at", "finished_at"}
        plain = [[str(row[name]) if name in times else row[name] for name in names] for row in rows]
        bare.execute("BEGIN IMMEDIATE")
        bare.executemany(f"INSERT INTO tool_traces ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", plain)  # noqa: S608
        bare.execute("COMMIT")

    return write


def bare_postgres_table(bare: psycopg.Connection[Any]) -> Callable[[list[dict[str, Any]]], None]:
    """Does the same in PostgreSQL."""
    bare.execute("CREATE TABLE bare_traces (LIKE tool_traces INCLUDING ALL)")

    def write(rows: list[dict[str, Any]]) -> None:
        names = list(rows[0])
        values = ", ".join(f"%({name})s" for name in names)
        with bare.transaction(), bare.cursor() as cursor:
            cursor.executemany(f"INSERT INTO bare_traces ({', '.join(names)}) VALUES ({values})", rows)  # noqa: S608

    return write


NEWEST = "SELECT * FROM runs ORDER BY created_at DESC, run_id DESC LIMIT 50"


async def on_sqlite(table: Table, parts: set[str], dose: Dose, folder: Path) -> None:
    for part in parts & {"lists", "traces"}:
        storage = open_storage(folder / part)
        await storage.rows.open()
        (folder / f"bare-{part}").mkdir()
        place = folder / (part if part == "lists" else "bare-traces")
        if part == "lists":
            await fill_runs(storage, dose.runs)
        with bare_sqlite(place) as bare:
            if part == "lists":
                await lists(table, storage, dose.runs, lambda: bare.execute(NEWEST).fetchall(), "SQLite")
            else:
                write = bare_table(bare, folder / part / DATABASE)
                await traces(table, storage, dose.traces, write, "SQLite")
        await storage.close()
    if "crowd" in parts:
        await crowd(table, folder / "crowd", dose, "", "SQLite")
    if "restart" in parts:
        await restart(table, folder / "restart", dose)


async def on_postgres(table: Table, parts: set[str], dose: Dose, folder: Path, url: str | None) -> None:
    for part in sorted(parts & {"lists", "traces", "crowd"}):
        with postgres(url) as (fresh, name):
            if part == "crowd":
                await crowd(table, folder / "crowd-postgres", dose, fresh, name)
                continue
            storage = open_storage(folder / "postgres", fresh)
            await storage.rows.open()
            with psycopg.connect(fresh, autocommit=True) as bare:
                if part == "lists":
                    await fill_runs(storage, dose.runs)
                    await lists(table, storage, dose.runs, lambda: bare.execute(NEWEST).fetchall(), name)
                else:
                    await traces(table, storage, dose.traces, bare_postgres_table(bare), name)
            await storage.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small doses, to see that it works")
    parser.add_argument("--postgres", metavar="URL", help="a PostgreSQL server whose user may create databases")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    asked = parser.parse_args()
    parts, dose, table = set(asked.only.split(",")), QUICK if asked.quick else Dose(), Table()
    if unknown := parts - set(PARTS):
        parser.error(f"There is no part {min(unknown)}: there are {', '.join(PARTS)}.")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(on_sqlite(table, parts, dose, Path(folder)))
        asyncio.run(on_postgres(table, parts, dose, Path(folder), asked.postgres))
    print(f"\n{table}")


if __name__ == "__main__":
    main()
