"""Traces from elsewhere and to elsewhere: the logs of other agents read as our facts, our facts written for others.

Nothing here needs a server. Importing this is light.
"""

from typing import Any

from ..client.run import Run


def attach() -> None:
    """Gives the client's runs their `export`."""
    Run.export = _export  # type: ignore[attr-defined]


def _export(self: Run, path: Any, *, format: str = "auto", overwrite: bool = False) -> Any:  # noqa: A002 - the spec's name
    """Writes the run to a file, like `ja.export`."""
    from .exporting import export

    return export(self, path, format=format, overwrite=overwrite)
