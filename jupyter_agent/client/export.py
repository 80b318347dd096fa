"""A notebook's workflow as a script: what keeps it from running without the notebook, or where it was written."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from .rows import Rows


class ExportProblem(Struct, frozen=True, kw_only=True, rename="camel"):
    """A place in a cell that leaves the portable language. `cell` counts the workflow's cells, `line` those of the
    cell with its first one."""

    message: str
    line: int
    column: int
    construct: str
    cell: int | None = None


class Export(Struct, frozen=True, kw_only=True, rename="camel"):
    """What `wf.export()` did. `file` is beneath the server's workspace, None where nothing was written; `text` is the
    script, as far as it could be made; `digest` is what a person approves before it runs."""

    name: str
    text: str
    problems: tuple[ExportProblem, ...]
    file: str | None = None
    digest: str | None = None

    @property
    def is_portable(self) -> bool:
        return not self.problems

    @property
    def df(self) -> Any:
        """A row for each problem: cell, line, column, construct, message."""
        return Rows.of("problems", self.problems).df

    def __repr__(self) -> str:
        if self.problems:
            count = len(self.problems)
            said = f"{count} place{'s' * (count != 1)} of the workflow {self.name!r} cannot run without the notebook"
            return "\n".join([f"Not written: {said}.", *(f"  {one.message}" for one in self.problems)])
        return (
            f"The workflow {self.name!r} was written to {self.file}. Once a person has approved it, in "
            f"a terminal with jupyter agent workflow approve {self.name}, the server runs it by itself: "
            f"ja.run_workflow({self.name!r})."
        )


def body_of(cells: Mapping[str, str], defaults: Any, *, replace: bool) -> dict[str, Any]:
    """Returns what is sent to be exported."""
    return {
        "cells": list(cells.values()), "model": defaults.model, "settings": dict(defaults.settings),
        "instructions": defaults.instructions, "replace": replace,
    }  # fmt: skip
