"""`ja.WorkflowView(wf)`: the calls of a workflow as they go on: which were reused, which run, and why."""

import asyncio
from typing import Any, ClassVar, Final

import msgspec

from ..client.workflow import Workflow
from ..display.calls import KIND
from ..display.table import Table
from ..exceptions import InvalidRequest
from .data_view import DataView
from .talk import understood
from .workflow_part import Part

SETTLED_S: Final = 1.0
"""When nothing has gone on for so long, outputs are renewed."""


class _Call(msgspec.Struct, frozen=True, rename="camel", tag="call"):
    number: int


class _Stop(msgspec.Struct, frozen=True, rename="camel", tag="stop"):
    pass


class WorkflowView(DataView):
    """Shows the calls of this pass of a workflow, live, phase by phase: `WorkflowView(wf)`.

    `df` has a row a call, as `wf.calls.df`. Whoever sees it may stop the calls that go on, as `wf.stop()` does;
    `close()` ends the view, not the calls. Raises InvalidRequest for what is no workflow.
    """

    KIND: ClassVar[str] = KIND

    def __init__(self, workflow: Workflow | Part) -> None:
        if not isinstance(workflow, Workflow | Part):
            raise InvalidRequest(
                f"A WorkflowView shows a workflow, and {workflow!r} is none: give `wf` of a %%workflow cell, or what "
                "`ja.workflow(name)` returned."
            )
        self._part = workflow if isinstance(workflow, Part) else Part(workflow)
        self._settling: asyncio.TimerHandle | None = None
        self._published = b""
        super().__init__((), feeds=(self._part,), client=self._part.workflow.client)

    @property
    def df(self) -> Any:
        """What is shown, a row a call."""
        return self._part.rows.df

    # --- what pages are told ----------------------------------------------------------------------------------

    def told(self) -> dict[str, Any]:
        return self._part.told()

    def answer(self, command: dict[str, Any]) -> tuple[Any, bool]:
        match understood(command, _Call | _Stop):
            case _Call(number=number):
                return self._part.opened(number), False
            case _:
                return self._part.workflow.stop(self._part.cell), False

    def kept(self) -> dict[str, Any]:
        return self._part.kept()

    def table(self) -> Table:
        return self._part.table()

    # --- outputs ----------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Has the outputs hold what there is whenever nothing goes on any more: a pass has no end of its own."""
        if self._settling is not None:
            self._settling.cancel()
        self._settling = self._client.threads_loop.call_later(SETTLED_S, self._settle)

    def _settle(self) -> None:
        self._settling = None
        # Nobody is told where the output is gone.
        if self._part.is_idle and self.comm is not None and self._talk.is_on:
            self._client.threads_loop.run_in_executor(None, self._publish_now)

    def _publish_now(self) -> None:
        seen = msgspec.json.encode({**self._part.kept(), "at": None})
        if seen != self._published and self.comm is not None:
            self._published = seen
            bundle = self.bundle()
            for output in self._outputs:
                output.publish(bundle, update=True)
