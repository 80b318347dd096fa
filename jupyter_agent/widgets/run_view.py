"""`ja.RunView(run)`: a run as a widget, to be put where one likes.

A page that reaches the gateway by itself follows the run there, kernel or not. Any other is told by this kernel, over
the widget's comm. Where there are no widgets at all the display falls back to the run as it is kept in notebooks.
"""

from collections.abc import Callable
from typing import Any

from traitlets import Dict, Unicode

from ..client import report
from ..client.rows import Rows
from ..client.run import Run
from ..compact import compact
from ..transcript import Transcript
from .displayed import DisplayedWidget
from .found import found_run
from .items import items_of
from .run_talk import RunTalk
from .talk import may_decide

SUMMARY_S = 2.0


class RunView(DisplayedWidget):
    """Shows a run live: `RunView(run)`, or `RunView("run_…")` for any of one's runs on this gateway.

    `run` is what it shows; `df` is what is shown as a DataFrame, a row an item. `summary` has the figures last seen;
    its observers are called in a thread of the client, so they must not wait for a run. `close()` ends the view, not
    the run.

    Raises InvalidRequest for what is no run and no id, RunNotFound for a run that this gateway does not know.
    """

    run_id = Unicode(read_only=True).tag(sync=True)
    summary = Dict(read_only=True).tag(sync=True)

    def __init__(self, run: Run | str, **options: Any) -> None:
        self.run = found_run(run, "RunView")
        self._summarised_at = 0.0
        self.set_trait("_kind", "run")
        self.set_trait("run_id", self.run.id)
        self.set_trait("summary", self.run._feed.read(_summary))
        super().__init__(**options)
        self._talk = RunTalk(self.run, self.send, may_decide=may_decide(self.run._client))
        self._stop_watching: Callable[[], None] = self.run._feed.watch(self._changed)
        self._await_end()
        self.talk_over_comm(self._talk)

    def __repr__(self) -> str:
        return f"<RunView {self.run.id} {report.status_line(self.run._feed)}>"

    @property
    def df(self) -> Any:
        """What is shown, in order: thinking, text and tool calls, a row each."""
        return Rows.of("items", self.run._feed.read(items_of), run_id=self.run.id).df

    def close(self) -> None:
        """Removes the view from its pages and stops telling them. The run goes on."""
        if self.comm is not None:
            self._talk.close()
            self._stop_watching()
        super().close()

    # --- display ----------------------------------------------------------------------------------------------

    @property
    def is_done(self) -> bool:
        return self.run.is_done

    def bundle(self) -> dict[str, Any]:
        from ..display import bundle

        return {**bundle(self.run._feed.read(compact)), **self.view_bundle()}

    def _await_end(self) -> None:
        self.run._client.threads_loop.call_soon_threadsafe(self._changed)

    # --- in the client's loop ---------------------------------------------------------------------------------

    def _changed(self) -> None:
        feed, now = self.run._feed, self.run._client.threads_loop.time()
        if feed.is_done or now - self._summarised_at > SUMMARY_S:
            self._summarised_at = now
            self.set_trait("summary", feed.read(_summary))
        if feed.is_done:
            self._stop_watching()
            self._publish_end()


def _summary(seen: Transcript) -> dict[str, Any]:
    """A few figures, and none of anybody's words."""
    return {
        "status": str(seen.status),
        "model": seen.started.model if seen.started else None,
        "turns": len(seen.turns),
        "toolCalls": len(seen.tool_calls),
        "inputTokens": seen.usage.input_tokens,
        "outputTokens": seen.usage.output_tokens,
        "cost": seen.usage.cost,
    }
