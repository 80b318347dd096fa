"""What our views of facts have in common: a frame or runs that they show, live where a run goes on, and their outputs.

Facts come over the kernel's comm, those that a page needs when it needs them; what is displayed holds the first of them
for when the kernel is gone.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from ..client.client import Client
from ..client.run import Run
from ..client.session import session
from ..display.table import VIEW_MIME, Table, table_html, table_text
from .displayed import DisplayedWidget
from .view_talk import News, ViewTalk

SCHEMA_VERSION = 1


class DataView(DisplayedWidget):
    """A view of facts. `runs` are those that it follows; `close()` ends the view, not the runs.

    What is no run brings news by `feeds` of its own.
    """

    KIND: ClassVar[str]
    """How the module tells which view it is."""

    def __init__(
        self, runs: tuple[Run, ...], *, feeds: tuple[News, ...] | None = None, client: Client | None = None
    ) -> None:
        self.runs = runs
        self._feeds: tuple[News, ...] = tuple(run._feed for run in runs) if feeds is None else feeds
        self._client = client or (runs[0]._client if runs else session().client)
        self._stops: list[Callable[[], None]] = []
        self.set_trait("_kind", self.KIND)
        super().__init__()
        self._talk = ViewTalk(self._client, self.send, self, self._feeds)
        self.talk_over_comm(self._talk)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.table().title}>"

    # --- what the heirs say -----------------------------------------------------------------------------------

    @property
    def df(self) -> Any:
        """What is shown, as a DataFrame."""
        raise NotImplementedError

    def told(self) -> dict[str, Any]:
        """Returns what a page is told unasked."""
        raise NotImplementedError

    def answer(self, command: dict[str, Any]) -> tuple[Any, bool]:
        """Returns what a page asked for, and whether all must be told anew."""
        raise NotImplementedError

    def kept(self) -> dict[str, Any]:
        """Returns what a notebook keeps of it for our renderer, at most some 256 KB."""
        return self.told()

    def table(self) -> Table:
        """Returns what a notebook keeps of it for everybody else."""
        raise NotImplementedError

    # --- display ----------------------------------------------------------------------------------------------

    @property
    def is_done(self) -> bool:
        return all(feed.is_done for feed in self._feeds)

    def close(self) -> None:
        """Removes the view from its pages and stops telling them. Runs go on."""
        if self.comm is not None:
            self._talk.close()
            self._stop_watching()
        super().close()

    def bundle(self) -> dict[str, Any]:
        table = self.table()
        kept = {"schemaVersion": SCHEMA_VERSION, "kind": self.KIND, **self.kept()}
        return {
            VIEW_MIME: kept, "text/html": table_html(table), "text/plain": table_text(table), **self.view_bundle()
        }  # fmt: skip

    def _await_end(self) -> None:
        if not self._stops:
            self._stops = [feed.watch(self._finish) for feed in self._feeds]
            self._client.threads_loop.call_soon_threadsafe(self._finish)

    def _stop_watching(self) -> None:
        for stop in self._stops:
            stop()
        self._stops = []

    def _finish(self) -> None:
        """Has the outputs hold the end, once. It is called in the client's loop, which is not to wait for it."""
        if self.is_done and self._stops:
            self._stop_watching()
            self._client.threads_loop.run_in_executor(None, self._publish_end)
