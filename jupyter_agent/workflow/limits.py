"""The limits of one run in the sandbox. All are always set; each ends the run with a sentence of its own."""

from typing import Any, Final

import msgspec

from ..exceptions import SandboxLimit
from ..script import MAX_CALLS

_SENTENCES: Final = {
    "memory_bytes": "held more than {allowed:,} bytes of memory at once",
    "cell_s": "worked for more than {allowed:g} seconds in one cell (waiting does not count): leave work to calls",
    "total_s": "worked for more than {allowed:g} seconds in all (waiting does not count): leave work to calls",
    "suspensions": "turned to the server more than {allowed:,} times",
    "calls": "made more than {allowed:,} calls",
    "printed_chars": "printed and logged more than {allowed:,} characters",
    "recursion": "called functions more than {allowed:,} deep",
    "output_bytes": "has a result of more than {allowed:,} bytes as JSON: write large results to files, by a call",
    "call_bytes": "said more than {allowed:,} bytes in one call: write large texts to files, and name them",
}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes, seconds of the script's own work, and counts. `hold_s` is how long a run that waits keeps its worker."""

    memory_bytes: int = 128 << 20
    cell_s: float = 10.0
    total_s: float = 120.0
    suspensions: int = 20_000
    calls: int = MAX_CALLS
    printed_chars: int = 1_000_000
    recursion: int = 500
    output_bytes: int = 4 << 20
    call_bytes: int = 1 << 20
    hold_s: float = 0.25

    def exceeded(self, limit: str, *, place: tuple[dict[str, Any], str] | None = None) -> SandboxLimit:
        """Returns the fault of going over the limit with this name, at this place of the script where it is known."""
        allowed: Any = getattr(self, limit)
        sentence = _SENTENCES[limit].format(allowed=allowed)
        where, at = place if place is not None else ({}, "")
        said = f"The script {sentence}. It was at {at}." if at else f"The script {sentence}."
        return SandboxLimit(said, details={"limit": limit, "allowed": allowed, **where})
