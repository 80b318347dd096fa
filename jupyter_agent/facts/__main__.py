"""A process that reads SQLite databases as Arrow for another one: `python -m jupyter_agent.facts`.

The driver brings a SQLite of its own, and two of them in one process undo each other's locks on a file: the second to
open a database takes it for unused, and clears the memory that the first one works in. So whoever has a database open
asks this process to read it.

A line of JSON asks. The answer is a line that says what is wrong, if anything, then an Arrow stream, then a line that
says it is whole. It ends with its input.
"""

import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa
from adbc_driver_sqlite import dbapi

from .process import DONE, Answer, Question
from .query import fetched


def main() -> None:
    # Who started it ends it: an interrupt at the terminal is not for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin.buffer:
        answer(msgspec.json.decode(line, type=Question), sys.stdout.buffer)


def answer(question: Question, out: BinaryIO) -> None:
    """Writes the answer. What fails after its first line ends the process: it is not whole then."""
    began = False
    try:
        with closing(dbapi.connect(question.database)) as connection, closing(connection.cursor()) as cursor:
            writer: Any = None
            for batch in _one_ahead(fetched(cursor, question.query)):
                if writer is None:
                    out.write(msgspec.json.encode(Answer()) + b"\n")
                    began = True
                    writer = pa.ipc.new_stream(out, batch.schema)
                writer.write_batch(batch)
            writer.close()
        out.write(DONE)
    except (dbapi.Error, pa.ArrowException) as fault:
        if began:
            raise
        out.write(msgspec.json.encode(Answer(fault=f"{type(fault).__name__}: {fault}")) + b"\n")
    out.flush()


def _one_ahead(batches: Iterator[Any]) -> Iterator[Any]:
    """Yields batches, and reads the next one while one is written: the driver needs no interpreter for it."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)
            yield batch


if __name__ == "__main__":
    main()
