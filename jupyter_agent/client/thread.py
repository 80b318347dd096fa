"""A thread in Python's hands: a conversation that lasts, and its runs."""

from typing import TYPE_CHECKING, Any

import msgspec

from .. import records
from .rows import Rows

if TYPE_CHECKING:
    from .client import Client
    from .run import Run


class Thread:
    """A conversation. `thread.run(prompt)` continues it; `thread.runs` lists what it has had."""

    def __init__(self, client: "Client", thread_id: str, *, title: str | None = None) -> None:
        self._client = client
        self.id = thread_id
        self.title = title

    def __repr__(self) -> str:
        return f"<Thread {self.id}{f' {self.title!r}' if self.title else ''}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thread) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def run(self, prompt: str, **options: Any) -> "Run":
        """Starts a run on this thread; the options are those of `ja.run`."""
        from .front import run

        return run(prompt, thread=self, **options)

    async def arun(self, prompt: str, **options: Any) -> "Run":
        from .front import arun

        return await arun(prompt, thread=self, **options)

    @property
    def runs(self) -> Rows[records.Run]:
        """The runs of this thread, newest first."""
        rows: Rows[records.Run] = self._client.wait(self._client.list_runs(limit=10_000, thread=self.id))
        return rows

    @property
    def record(self) -> records.Thread:
        """The thread as the server has it now. Raises ThreadNotFound."""
        return msgspec.convert(self._client.wait(self._client.request("GET", f"threads/{self.id}")), records.Thread)
