"""How to talk to PostgreSQL: connections, transactions and what its errors mean. Everything that only PostgreSQL needs
stands here."""

import asyncio
import hashlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from ..exceptions import StorageError, StorageFull, StorageUnavailable
from ..facts.columns import schema
from ..facts.query import POSTGRESQL, Query, Words, typed
from .backend import Disconnected, to_json
from .tables import metadata, run_events

SCHEMES: Final = frozenset({"postgresql", "postgres", "postgresql+psycopg"})
POOL_SIZE: Final = 8
IDLE_S: Final = 3.0
"""After so long without a word a transaction is ended: its process is stopped, or so busy that it does it again."""
UNDECIDED_S: Final = 0.2
CONNECT: Final = {
    "connect_timeout": 10,
    "application_name": "jupyter_agent",
    "client_encoding": "utf8",
    # A server that is cut off is noticed within half a minute, not after the operating system's two hours.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
_OVERTAKEN: Final = frozenset({"40001", "40P01"})
"""serialization_failure, deadlock_detected."""
_AWAY: Final = frozenset({"57P01", "57P02", "57P03", "53300", "25P03"})
"""The server shuts down, crashed, starts, has no room for one more connection, or closed an idle one."""


@dataclass(frozen=True, repr=False)
class PostgresServer:
    """The Backend of a PostgreSQL database."""

    url: sa.URL

    @classmethod
    def of(cls, text: str) -> "PostgresServer":
        """Raises StorageError for what is no URL of a PostgreSQL database, or when its driver is not there."""
        try:
            url = sa.make_url(text)
        except (sa.exc.ArgumentError, ValueError):
            url = None
        if url is None or url.drivername not in SCHEMES:
            # Without the text: a password stands in it.
            raise StorageError(
                "The database URL is none of a PostgreSQL database. Write it like "
                "postgresql://user:password@host:5432/database."
            ) from None
        try:
            import psycopg  # noqa: F401 - an extra, looked for before anything is opened
        except ImportError as fault:
            raise StorageError(
                "The driver of PostgreSQL is not installed. Install it: pip install 'jupyter_agent[postgres]'."
            ) from fault
        return cls(url.set(drivername="postgresql+psycopg"))

    def __repr__(self) -> str:
        return f"PostgresServer({self.name})"

    @property
    def name(self) -> str:
        url = self.url
        host = f"[{url.host}]" if ":" in (url.host or "") else url.host or url.query.get("host", "localhost")
        return f"postgresql://{host}{f':{url.port}' if url.port else ''}/{url.database or url.username or ''}"

    @property
    def faults(self) -> tuple[type[Exception], ...]:
        import psycopg

        return (sa.exc.SQLAlchemyError, psycopg.Error)

    @property
    def reading(self) -> dict[str, Any]:
        # Each statement sees what is committed by then anyway: a transaction around it would be two more turns to the
        # server and back.
        return {"isolation_level": "AUTOCOMMIT"}

    @property
    def writing(self) -> dict[str, Any]:
        return {"isolation_level": "SERIALIZABLE"}

    def open_engine(self) -> AsyncEngine:
        engine = create_async_engine(
            self.url,
            hide_parameters=True,
            json_serializer=to_json,
            json_deserializer=msgspec.json.decode,
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=60,
            connect_args=CONNECT,
        )
        end_idle_transactions(engine.sync_engine)
        return engine

    def open_blocking_engine(self, **options: Any) -> sa.Engine:
        """Returns an engine for threads."""
        return sa.create_engine(self.url, hide_parameters=True, connect_args=CONNECT, **options)

    def open_threads_engine(self) -> sa.Engine | None:
        return None

    @contextmanager
    def migrating(self) -> Iterator[sa.Connection]:
        engine = self.open_blocking_engine(poolclass=sa.pool.NullPool)
        try:
            with engine.connect() as connection, connection.begin():
                encoding = connection.execute(sa.text("SHOW server_encoding")).scalar()
                if encoding != "UTF8":
                    raise StorageError(
                        f"The database {self.name} keeps texts in {encoding}, which holds not all of them. Make one "
                        "with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
                    )
                schema = connection.execute(sa.text("SELECT current_schema()")).scalar()
                lock = sa.select(sa.func.pg_advisory_xact_lock(lock_number(f"migrations of {schema}")))
                connection.execute(lock)
                yield connection
        finally:
            engine.dispose()

    def has_tables(self) -> bool:
        """Tells whether tables of ours are there. Blocking. Raises StorageError."""
        engine = self.open_blocking_engine(poolclass=sa.pool.NullPool)
        try:
            with engine.connect() as connection:
                return sa.inspect(connection).has_table(run_events.name)
        except self.faults as fault:
            raise self.fault(fault) from fault
        finally:
            engine.dispose()

    def fault(self, fault: Exception) -> StorageError:
        origin = getattr(fault, "orig", None) or fault
        code = getattr(origin, "sqlstate", None)
        details = {"path": self.name, "postgres": code or type(origin).__name__}
        match code:
            case "53100":
                return StorageFull(
                    f"The disk of the database {self.name} is full. Make room there and try again.", details=details
                )
            case "28P01" | "28000":
                return StorageError(
                    f"The database {self.name} does not let this user in. Look at user and password of the database "
                    "URL.",
                    details=details,
                )
            case "3D000" | "3F000":
                return StorageError(
                    f"There is no database {self.name}, or no schema to write to in it. Make it, or name another one.",
                    details=details,
                )
            case "42501" | "25006":
                return StorageError(
                    f"The database {self.name} cannot be written by this user. Grant CREATE on its schema, and see "
                    "that the address is that of the primary.",
                    details=details,
                )
            case "XX001" | "XX002":
                return StorageError(
                    f"The database {self.name} is damaged. Restore it from a backup, then start again.",
                    details=details,
                )
        if is_away(fault):
            # libpq gives no code with what it says while it connects.
            said = str(origin).partition("\n")[0].rstrip(". ")
            return Disconnected(
                f"The database {self.name} cannot be reached: {said}. See that it runs, that it lets this user in, and "
                "that the database URL is right; then try again.",
                details=details,
            )
        return StorageUnavailable(
            f"The database {self.name} failed with {details['postgres']}. Its server's log says more.", details=details
        )

    def is_overtaken(self, fault: sa.exc.DBAPIError) -> bool:
        return getattr(fault.orig, "sqlstate", None) in _OVERTAKEN

    async def clock(self, db: AsyncConnection) -> float:
        found = await db.execute(sa.text("SELECT extract(epoch FROM clock_timestamp())"))
        return float(found.scalar_one())

    async def stamp(self, db: AsyncConnection) -> int | None:
        found = await db.execute(sa.text("SELECT pg_current_xact_id_if_assigned()::text::bigint"))
        stamp: int | None = found.scalar()
        return stamp

    async def was_committed(self, db: AsyncConnection, stamp: int) -> bool:
        while True:
            found = await db.execute(sa.text("SELECT pg_xact_status(CAST(:it AS text)::xid8)"), {"it": str(stamp)})
            status = found.scalar()
            if status != "in progress":
                return bool(status == "committed")
            await asyncio.sleep(UNDECIDED_S)

    async def empty_log(self, db: AsyncConnection) -> bool:  # noqa: ARG002 - its log is the server's own to keep
        return True

    async def vacuum(self, db: AsyncConnection) -> None:
        await db.execution_options(isolation_level="AUTOCOMMIT")
        for table in metadata.sorted_tables:
            await db.execute(sa.text(f"VACUUM {table.name}"))

    @property
    def words(self) -> Words:
        return POSTGRESQL

    def reader(self) -> "PostgresServer":
        return self

    def read(self, asked: Query) -> Generator[Any, None, None]:
        import pyarrow as pa
        from adbc_driver_postgresql import dbapi

        fields = schema(asked.columns)
        try:
            with closing(dbapi.connect(self.libpq_url())) as connection, closing(connection.cursor()) as cursor:
                cursor.execute(asked.text, asked.parameters)
                is_empty = True
                for batch in cursor.fetch_record_batch():
                    yield typed(batch, fields)
                    is_empty = False
                if is_empty:
                    yield pa.RecordBatch.from_pylist([], schema=fields)
        except dbapi.Error as fault:
            raise StorageUnavailable(
                f"The database {self.name} could not be read: {type(fault).__name__}. Try again."
            ) from fault

    def close(self) -> None:
        """Nothing is kept between two reads."""

    def libpq_url(self) -> str:
        """Returns the URL as the server's own library takes it. A password stands in it."""
        options = {name: str(value) for name, value in CONNECT.items() if name not in self.url.query}
        url = self.url.set(drivername="postgresql").update_query_dict(options)
        return url.render_as_string(hide_password=False)


def end_idle_transactions(engine: sa.Engine) -> None:
    """Lets the server end transactions of the engine in which nothing is done for a while.

    A process that is stopped in the middle of one would keep its rows locked, and nobody could take its runs over. Set
    by statement: the URL's own options stay.
    """

    @sa.event.listens_for(engine, "connect")
    def bound(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SET idle_in_transaction_session_timeout = {round(IDLE_S * 1000)}")
        cursor.close()
        connection.commit()


def is_away(fault: Exception) -> bool:
    """Tells whether an error says that there is no connection any more, or yet."""
    import psycopg

    if getattr(fault, "connection_invalidated", False):
        return True
    origin = getattr(fault, "orig", None) or fault
    code = getattr(origin, "sqlstate", None)
    if code is None:
        return isinstance(origin, psycopg.OperationalError)
    return bool(code in _AWAY or code.startswith("08"))


def lock_number(name: str) -> int:
    """Returns the number of an advisory lock by its name: locks of PostgreSQL have nothing else."""
    return int.from_bytes(hashlib.sha256(f"jupyter_agent {name}".encode()).digest()[:8], "big", signed=True)
