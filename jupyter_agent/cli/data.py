"""The data folder that `jupyter agent check` and `rebuild` work on: which one it is, and that nobody else uses it."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jupyter_core.paths import jupyter_data_dir

from ..exceptions import InvalidRequest
from ..storage import DATABASE, Storage, open_storage
from ..storage.folder import FolderLock, workspace_folder


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Adds how to name the data folder."""
    parser.add_argument(
        "--data-folder", type=Path, help="the server's data folder; default: that of --workspace under Jupyter's data"
    )
    parser.add_argument(
        "--workspace", type=Path, default=Path(), help="the folder that the server serves; default: the current one"
    )


def storage_of(options: argparse.Namespace) -> Storage:
    """Returns the stores that the options name. Raises InvalidRequest where there is no data."""
    folder = options.data_folder or workspace_folder(Path(jupyter_data_dir()), options.workspace)
    folder = folder.expanduser().resolve()
    if not any((folder / name).exists() for name in (DATABASE, "journals", "blobs")):
        raise InvalidRequest(
            f"There is no data of jupyter_agent in {folder}. Name the server's folder with --workspace, or its data "
            "folder with --data-folder."
        )
    return open_storage(folder)


@contextmanager
def alone(storage: Storage) -> Iterator[None]:
    """Keeps servers out of the data folder. Raises StorageUnavailable while one uses it."""
    lock = FolderLock(storage.folder)
    lock.take()
    try:
        yield
    finally:
        lock.release()
