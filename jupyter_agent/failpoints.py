"""Named places where a test can make the process die, fail or stall: one at every durable transition.

Nothing happens unless the environment arms them, comma-separated:

    JUPYTER_AGENT_FAILPOINTS="journal.after_write=kill;nth=3,blobs.before_rename=raise:EIO,journal.sync=sleep:5"

`kill` is SIGKILL to this process, `raise:NAME` an OSError with that errno, `sleep:S` blocks for S seconds. `nth=3`
acts on the third pass only, `nth=3+` from the third on; without it on every pass.
"""

import errno
import os
import signal
import time
from dataclasses import dataclass
from functools import cache
from typing import Final

ENVIRONMENT: Final = "JUPYTER_AGENT_FAILPOINTS"

NAMES: Final = frozenset(
    {
        "journal.created",
        "journal.before_write",
        "journal.after_write",
        "journal.sync",
        "journal.after_sync",
        "journal.quarantined",
        "archive.events_kept",
        "archive.detail_kept",
        "archive.row_saved",
        "blobs.before_fsync",
        "blobs.before_rename",
        "rows.before_commit",
        "rows.after_commit",
    }
)
"""All of them. A test compares this list with the calls in the source."""


@dataclass
class _Deed:
    """What to do at one failpoint, and how often it was passed."""

    action: str
    nth: int = 0
    and_later: bool = True
    passes: int = 0

    def act(self, name: str) -> None:
        self.passes += 1
        if self.passes < self.nth or (self.passes > self.nth and not self.and_later):
            return
        kind, _, value = self.action.partition(":")
        match kind:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "raise":
                raise OSError(getattr(errno, value), f"{os.strerror(getattr(errno, value))} (failpoint {name})")
            case "sleep":
                time.sleep(float(value))
            case _:
                raise ValueError(f"{ENVIRONMENT} names the action {self.action!r}: say kill, raise:ERRNO or sleep:S.")


@cache
def _armed() -> dict[str, _Deed]:
    return dict(map(_parse, filter(None, os.environ.get(ENVIRONMENT, "").split(","))))


def _parse(item: str) -> tuple[str, _Deed]:
    name, _, rest = item.strip().partition("=")
    if name not in NAMES:
        raise ValueError(f"{ENVIRONMENT} names {name!r}, which is no failpoint. There are: {', '.join(sorted(NAMES))}.")
    action, _, nth = rest.partition(";nth=")
    return name, _Deed(action, int(nth.rstrip("+") or 0), and_later=not nth or nth.endswith("+"))


def failpoint(name: str) -> None:
    """Does what the environment asks for at this place; usually nothing."""
    if (armed := _armed()) and (deed := armed.get(name)):
        deed.act(name)
