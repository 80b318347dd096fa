"""Reads a SQLite file in another process, see `facts.__main__` for why. Everything here blocks: call it in a thread."""

import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from ..exceptions import StorageUnavailable
from ..facts.process import DONE, Answer, Question
from ..facts.query import Query


class ProcessReader:
    """Reads one SQLite file. It keeps a process at hand for the next question, until it is closed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._gate = threading.Lock()
        self._idle: _Reading | None = None
        self._is_closed = False

    def read(self, asked: Query) -> Generator[Any, None, None]:
        """Yields what a query finds as `pyarrow.RecordBatch`es, at least one. Raises StorageUnavailable."""
        question = Question.of(f"{self._path.as_uri()}?mode=ro", asked)
        reading = self._take()
        is_whole = False
        try:
            yield from reading.answer(question, self._path)
            is_whole = True
        finally:
            if not (is_whole and self._keep(reading)):
                reading.end()

    def close(self) -> None:
        """Ends the process."""
        with self._gate:
            self._is_closed, idle, self._idle = True, self._idle, None
        if idle is not None:
            idle.end()

    def _take(self) -> "_Reading":
        with self._gate:
            idle, self._idle = self._idle, None
        if idle is not None:
            if idle.is_there:
                return idle
            idle.end()
        return _Reading()

    def _keep(self, reading: "_Reading") -> bool:
        """Keeps a process for the next question; tells whether it does."""
        with self._gate:
            if self._is_closed or self._idle is not None:
                return False
            self._idle = reading
            return True


class _Reading:
    """A process that reads, one question after the other."""

    def __init__(self) -> None:
        # Not from the working directory: somebody may have a folder of our name there.
        command = [sys.executable, "-P", "-m", "jupyter_agent.facts"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - ours

    @property
    def is_there(self) -> bool:
        return self._process.poll() is None

    def answer(self, question: Question, path: Path) -> Iterator[Any]:
        """Yields the batches of an answer. Raises StorageUnavailable for what is not whole."""
        import pyarrow as pa

        ask, told = self._pipes
        try:
            ask.write(msgspec.json.encode(question) + b"\n")
            ask.flush()
            head = told.readline()
            fault = msgspec.json.decode(head, type=Answer).fault if head else "It ended before it answered."
            if fault is None:
                with pa.ipc.open_stream(told) as stream:
                    yield from stream
                fault = None if told.readline() == DONE else "It broke off."
        except (OSError, pa.ArrowException, msgspec.DecodeError) as broken:
            raise _unreadable(path, str(broken)) from broken
        if fault is not None:
            raise _unreadable(path, fault)

    @property
    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._process.stdin is None or self._process.stdout is None:
            raise StorageUnavailable("The process that reads the database was started without pipes. Try again.")
        return self._process.stdin, self._process.stdout

    def end(self) -> None:
        """Ends it, whatever it does."""
        self._process.kill()
        for pipe in self._pipes:
            with suppress(BrokenPipeError):
                pipe.close()
        self._process.wait()


def _unreadable(path: Path, why: str) -> StorageUnavailable:
    return StorageUnavailable(
        f"The database {path} could not be read: {why.rstrip('.')}. Try again.", details={"path": str(path)}
    )
