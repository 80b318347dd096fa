"""Brings a database to the newest schema when it is opened: one process at a time, wholly or not at all."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from ...exceptions import SchemaTooNew
from ..engine import WRITES, create_file, open_blocking_engine, sql_fault
from ..faults import storage_fault

HEAD: Final = "0001"
"""The newest revision: a database that has it is opened without a look at the scripts."""

FOLDER: Final = Path(__file__).parent


def migrate(path: Path) -> None:
    """Migrates the SQLite file at `path`, made if need be. Blocking.

    Raises SchemaTooNew for a database of a newer jupyter_agent; StorageError for a damaged or unwritable one.
    """
    create_file(path)
    engine = open_blocking_engine(path)
    try:
        with _lock(path.with_name("migrations.lock")), engine.connect() as plain:
            connection = plain.execution_options(**{WRITES: True})
            with connection.begin():
                revision = _revision(connection)
                if revision != HEAD:
                    _upgrade(connection, revision, path)
    except (sa.exc.SQLAlchemyError, sqlite3.Error) as fault:
        raise sql_fault(fault, path) from fault
    finally:
        engine.dispose()


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: sa.Connection, revision: str | None, path: Path) -> None:
    # Alembic is slow to import, and most starts find nothing to do.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise SchemaTooNew(
            f"The database {path} has schema {revision!r}, made by a newer jupyter_agent; this one knows up to "
            f"{HEAD!r}. Update jupyter_agent, or choose another data folder.",
            details={"path": str(path), "version": revision, "supported": HEAD},
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as fault:
        raise storage_fault(fault, path, "locking the database for its migration") from fault
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
