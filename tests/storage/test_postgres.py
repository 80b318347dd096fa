"""What only PostgreSQL can do to us: it goes away, lets nobody in, is somebody else's, and does not answer a commit."""

import asyncio
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from jupyter_agent.exceptions import StorageError, StorageUnavailable
from jupyter_agent.records import SYSTEM, Thread
from jupyter_agent.storage import database
from jupyter_agent.storage.backend import Disconnected
from jupyter_agent.storage.backends import backend_of
from jupyter_agent.storage.postgres import PostgresServer
from jupyter_agent.storage.sql import SqlRows

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def name(database_url):
    return PostgresServer.of(database_url).url.database


@pytest.fixture
async def rows(database_url):
    found = SqlRows(database_url)
    await found.open()
    yield found
    await found.close()


def a_thread(name):
    return Thread(thread_id=name, user_id="u", created_at=AT, updated_at=AT)


# --- addresses and what they tell -------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "x", "sqlite:///a.db", "mysql://u:canary@h/d", "postgresql://u:canary@h:port/d"])
def test_what_is_no_address_is_told_without_its_password(text):
    with pytest.raises(StorageError, match=r"Write it like postgresql://user:password@host:5432/database") as fault:
        backend_of(text)
    assert "canary" not in repr(fault.value)
    assert fault.value.__cause__ is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("postgresql://u:canary@db.example:6000/runs?sslmode=require", "postgresql://db.example:6000/runs"),
        ("postgres://u:canary@h/d?password=canary", "postgresql://h/d"),
        ("postgresql+psycopg://u:canary@[::1]/d", "postgresql://[::1]/d"),
        ("postgresql:///d?host=/run/postgresql", "postgresql:///run/postgresql/d"),
    ],
)
def test_a_database_is_called_by_its_address_without_its_password(text, name):
    backend = backend_of(text)
    assert backend.name == name
    assert "canary" not in repr(backend) + str(backend)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"database": "nowhere"}, 'cannot be reached: .*"nowhere" does not exist.*database URL'),
        ({"username": "nobody_of_that_name"}, "cannot be reached: .*nobody_of_that_name.*lets this user in"),
        ({"port": 1}, "cannot be reached"),
    ],
)
async def test_what_is_wrong_is_told_with_what_to_do(database_url, monkeypatch, change, told):
    url = sa.make_url(database_url).set(**{"password": "canary"} | change)
    with pytest.raises(StorageError, match=told) as fault:
        await SqlRows(url.render_as_string(hide_password=False)).open()
    assert "canary" not in str(fault.value) + str(fault.value.__cause__) + repr(fault.value.details)


async def test_a_database_that_cannot_hold_every_text_is_refused(postgres):
    latin = postgres.new_database("ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C'")
    with latin as url, pytest.raises(StorageError, match="ENCODING 'UTF8'"):
        await SqlRows(url).open()


async def test_a_reader_may_not_migrate(postgres):
    with postgres.new_database() as url:
        found = sa.make_url(url)
        postgres.run("DROP ROLE IF EXISTS reader")
        postgres.run("CREATE ROLE reader LOGIN")
        with pytest.raises(StorageError, match="cannot be written by this user"):
            await SqlRows(found.set(username="reader").render_as_string()).open()


# --- connections that are lost ---------------------------------------------------------------------------------------


async def test_reads_and_writes_outlive_their_connections(rows, postgres, name):
    for number in range(5):
        await rows.create_thread(a_thread(f"t{number}"))
        assert postgres.end_connections(name) >= 1
        assert len((await rows.list_threads(by=SYSTEM)).items) == number + 1
        postgres.end_connections(name)


async def test_a_write_that_was_cut_is_done_once(rows, postgres, name):
    """Before each of its statements in turn."""
    await rows.create_thread(a_thread("t"))
    for at in range(4):
        tries = 0

        async def work(db, at=at):
            nonlocal tries
            tries += 1
            for number in range(4):
                if number == at and tries == 1:
                    await asyncio.to_thread(postgres.end_connections, name)
                row = sa.text("UPDATE threads SET title = coalesce(title, '') || 'x'")
                await db.execute(row)

        await rows._write(work)
        assert tries == 2
        assert (await rows.get_thread("t", by=SYSTEM)).title == "xxxx" * (at + 1)


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_commit_that_was_not_answered_counts_once(rows, postgres, name, monkeypatch, arrives):
    """The connection is lost behind the commit, or before it: the database knows which."""
    await rows.create_thread(a_thread("t"))
    lost = []
    dialect = rows._engine.sync_engine.dialect
    real_commit = dialect.do_commit

    def commit(connection):
        if lost:
            real_commit(connection)
            return
        lost.append(connection)
        if arrives:
            real_commit(connection)
        postgres.end_connections(name)
        # To the caller it is lost at the same place.
        cursor = connection.cursor()
        cursor.execute("SELECT 1")

    monkeypatch.setattr(dialect, "do_commit", commit)
    tries = 0

    async def work(db):
        nonlocal tries
        tries += 1
        await db.execute(sa.text("UPDATE threads SET title = coalesce(title, '') || 'x'"))

    await rows._write(work)
    assert tries == (1 if arrives else 2)
    assert (await rows.get_thread("t", by=SYSTEM)).title == "x"


async def test_where_nobody_can_tell_nothing_is_done_again(rows, postgres, name, monkeypatch):
    monkeypatch.setattr(database, "PAUSES_S", (0.01,))
    await rows.create_thread(a_thread("t"))
    tries = 0

    async def work(db):
        nonlocal tries
        tries += 1
        await db.execute(sa.text("UPDATE threads SET title = 'x'"))

    async def nobody(self, db, stamp):
        raise Disconnected("gone")

    real_stamp = PostgresServer.stamp

    async def stamp(self, db):
        found = await real_stamp(self, db)
        await asyncio.to_thread(postgres.end_connections, name)
        return found

    monkeypatch.setattr(PostgresServer, "stamp", stamp)
    monkeypatch.setattr(PostgresServer, "was_committed", nobody)
    with pytest.raises(StorageUnavailable, match="look before you try again"):
        await rows._write(work)
    assert tries == 1


async def test_a_server_that_restarts_is_waited_for(rows, postgres):
    await rows.create_thread(a_thread("t"))
    for at_once in (False, True):
        await asyncio.to_thread(postgres.stop, at_once=at_once)
        starting = asyncio.create_task(asyncio.to_thread(postgres.start))
        read, written = await asyncio.gather(
            rows.get_thread("t", by=SYSTEM), rows.update_thread("t", by=SYSTEM, metadata={str(at_once): 1})
        )
        await starting
        assert read.thread_id == written.thread_id == "t"
    assert (await rows.get_thread("t", by=SYSTEM)).metadata == {"False": 1, "True": 1}


async def test_a_server_that_stays_away_is_told(rows, postgres, monkeypatch):
    monkeypatch.setattr(database, "PAUSES_S", (0.01, 0.01))
    await asyncio.to_thread(postgres.stop)
    try:
        for work in (rows.get_thread("t", by=SYSTEM), rows.create_thread(a_thread("t"))):
            with pytest.raises(StorageUnavailable, match="See that it runs"):
                await work
    finally:
        await asyncio.to_thread(postgres.start)
    await rows.create_thread(a_thread("t"))


async def test_two_servers_write_as_if_each_were_alone(rows, database_url):
    """Each adds to what it read: nothing is overwritten."""
    other = SqlRows(database_url)
    await other.open()
    await rows.create_thread(a_thread("t"))
    changes = [
        store.update_thread("t", by=SYSTEM, metadata={f"{index} {number}": 1})
        for number in range(25)
        for index, store in enumerate((rows, other))
    ]
    await asyncio.gather(*changes)
    assert len((await rows.get_thread("t", by=SYSTEM)).metadata) == 50
    made = await asyncio.gather(*(store.create_thread(a_thread("same")) for store in (rows, other) for _ in range(10)))
    assert len(set(map(repr, made))) == 1
    await other.close()
