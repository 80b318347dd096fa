"""What a notebook keeps of a run: data for our renderer, HTML and plain text for everything else."""

from datetime import datetime
from typing import Any, Final

import msgspec

from ..compact import CompactRun, kept
from .page import html
from .shown import Shown
from .text import text

MIME_TYPE: Final = "application/vnd.jupyter-agent.run+json"


def bundle(run: CompactRun, *, now: datetime | None = None, remark: str = "") -> dict[str, Any]:
    """Returns the MIME bundle of a run as it is now. Each part is bounded, and lets nobody act on the run.

    `now` is the time that a run which goes on has taken until; without it, its last event's. `remark` is a sentence on
    how the run is followed; it is not in the data.
    """
    cut = kept(run)
    shown = Shown(run, cut, now=now, remark=remark)
    return {MIME_TYPE: msgspec.to_builtins(cut), "text/html": html(shown), "text/plain": text(shown)}
