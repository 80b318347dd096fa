"""The latest lines of an open run in memory, encoded once and shared by all its followers."""

from typing import Final

KEPT_BYTES: Final = 1024 * 1024
"""What a run keeps at least of its latest lines, while they are that many. It never keeps more than twice that."""

BATCH_LINES: Final = 1024


class Recent:
    """Lines that follow the event `seq` without holes. Whoever is further behind reads the store."""

    def __init__(self, seq: int) -> None:
        self._before = seq
        self._lines: list[bytes] = []
        self._bytes = 0

    def add(self, line: bytes) -> None:
        self._lines.append(line)
        self._bytes += len(line)
        if self._bytes > 2 * KEPT_BYTES:
            self._trim()

    def since(self, seq: int) -> list[bytes] | None:
        """Returns the next lines after this seq, at most `BATCH_LINES`, or None when they are no longer in memory."""
        start = seq - self._before
        if start < 0:
            return None
        return self._lines[start : start + BATCH_LINES]

    def _trim(self) -> None:
        number = 0
        while self._bytes > KEPT_BYTES:
            self._bytes -= len(self._lines[number])
            number += 1
        del self._lines[:number]
        self._before += number
