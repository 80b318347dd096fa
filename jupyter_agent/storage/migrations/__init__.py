"""Brings a database to the newest schema when it is opened: one process at a time, wholly or not at all."""

from pathlib import Path
from typing import Final

import sqlalchemy as sa

from ...exceptions import SchemaTooNew
from ..backend import Backend
from ..backends import backend_of

HEAD: Final = "0017"
"""The newest revision: a database that has it is opened without a look at the scripts."""

FOLDER: Final = Path(__file__).parent


def migrate(where: Path | str | Backend) -> None:
    """Migrates a database; a SQLite file is made if need be. Blocking.

    Raises SchemaTooNew for a database of a newer jupyter_agent; StorageError for one that is damaged, not to be written
    or not to be reached.
    """
    backend = backend_of(where)
    try:
        with backend.migrating() as connection:
            revision = _revision(connection)
            if revision != HEAD:
                _upgrade(connection, revision, backend)
    except backend.faults as fault:
        raise backend.fault(fault) from fault


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: sa.Connection, revision: str | None, backend: Backend) -> None:
    # Alembic is slow to import, and most starts find nothing to do.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise SchemaTooNew(
            f"The database {backend.name} has schema {revision!r}, made by a newer jupyter_agent; this one knows up to "
            f"{HEAD!r}. Update jupyter_agent, or choose another place.",
            details={"path": backend.name, "version": revision, "supported": HEAD},
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
