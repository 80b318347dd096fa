"""What `jupyter agent check`, `rebuild` and `prune` work on: a data folder or a database, and that nobody else uses it.

They look where the server looks: in the options, in Jupyter's configuration, in the environment.
"""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from jupyter_core.application import JupyterApp
from jupyter_core.paths import jupyter_data_dir

from ..exceptions import InvalidRequest
from ..storage import DATABASE, DATABASE_URL, Storage, open_storage
from ..storage.folder import workspace_folder

CONFIGURATION: Final = ("jupyter_server_config", "jupyter_jupyter_agent_config")
"""The files that a server reads for itself and for this extension."""


def add_place(parser: argparse.ArgumentParser) -> None:
    """Adds how to name what the command works on."""
    parser.add_argument(
        "--data-folder",
        type=Path,
        help="the server's data folder, also where a database is configured; default: that of --workspace under "
        "Jupyter's data",
    )
    parser.add_argument("--workspace", type=Path, help="the folder that the server serves; default: the current one")
    parser.epilog = (
        "Without --data-folder it works on what Jupyter's configuration names (AgentGateway.database_url, data_folder "
        f"or workspace), or on the PostgreSQL database that {DATABASE_URL} names. That one is no option: everybody on "
        "this machine could read its password."
    )


def storage_of(options: argparse.Namespace) -> Storage:
    """Returns the stores that the options, Jupyter's configuration or the environment name.

    Raises InvalidRequest where there is no data, StorageError for a database that cannot be reached.
    """
    told = _configured()
    folder = _folder(options, told)
    url = "" if options.data_folder else told.AgentGateway.get("database_url") or os.environ.get(DATABASE_URL, "")
    if url:
        storage = open_storage(folder, url)
        if not storage.has_tables():
            raise InvalidRequest(
                f"There is no data of jupyter_agent in {storage.name}. A server makes its tables when it starts."
            )
        return storage
    if not any((folder / name).exists() for name in (DATABASE, "journals", "blobs")):
        raise InvalidRequest(
            f"There is no data of jupyter_agent in {folder}. Name the server's folder with --workspace, its data "
            f"folder with --data-folder, or its PostgreSQL database with the variable {DATABASE_URL}."
        )
    return open_storage(folder)


@contextmanager
def alone(storage: Storage) -> Iterator[None]:
    """Keeps servers out of the stores. Raises StorageUnavailable while one uses them."""
    try:
        storage.enter(alone=True)
        yield
    finally:
        storage.leave()


def _configured() -> Any:
    """Returns what Jupyter's configuration files say. Raises InvalidRequest where one cannot be read: with a default in
    its place the command would work on something else than the server does."""
    app = JupyterApp(raise_config_file_errors=True)
    for name in CONFIGURATION:
        app.config_file_name = name
        try:
            app.load_config_file(suppress_errors=False)
        except Exception as fault:  # whatever a person wrote there
            raise InvalidRequest(
                f"Jupyter's configuration {name} cannot be read ({type(fault).__name__}). `jupyter server` says more. "
                "Mend it, or name the data folder with --data-folder."
            ) from fault
    return app.config


def _folder(options: argparse.Namespace, told: Any) -> Path:
    named = options.data_folder or (None if options.workspace else told.AgentGateway.get("data_folder"))
    if not named:
        workspace = options.workspace or told.AgentGateway.get("workspace") or told.ServerApp.get("root_dir") or "."
        named = workspace_folder(Path(jupyter_data_dir()), Path(workspace))
    return Path(named).expanduser().resolve()
