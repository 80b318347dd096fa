"""Where the state of flows is kept: in memory for a kernel; the server's rows keep the same promises."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from ..exceptions import Conflict, FlowRunNotFound, LeaseLost
from ..records import Principal
from .state import FlowRun, StepState


class Taken(NamedTuple):
    """A run that this process carries out now, and the number that its writes name."""

    run: FlowRun
    lease_no: int


class Keeper(Protocol):
    """Keeps runs of flows with their steps. Another's run reads as absent (FlowRunNotFound)."""

    async def create_flow_run(
        self, run: FlowRun, steps: Sequence[StepState], *, owner: str, ttl_s: float
    ) -> tuple[FlowRun, int]:
        """Keeps a run that `owner` carries out and returns its number. Raises Conflict where its id is taken."""

    async def save_flow_run(self, run: FlowRun, changed: Sequence[StepState], *, lease_no: int) -> None:
        """Writes the run and those steps, all or nothing. Raises LeaseLost where the run was taken over or is over."""

    async def get_flow_run(self, flow_run_id: str, *, by: Principal) -> FlowRun: ...

    async def list_flow_steps(self, flow_run_id: str, *, by: Principal) -> Sequence[StepState]:
        """Returns the steps of a run, in the order of the flow."""

    async def take_flow_runs(self, names: Iterable[str], *, owner: str, ttl_s: float) -> Sequence[Taken]:
        """Takes the unfinished runs of these flows that nobody carries out, oldest first."""

    async def renew_flow_runs(self, flow_run_ids: Iterable[str], *, owner: str, ttl_s: float) -> set[str]:
        """Lets what is still the owner's be so for `ttl_s` from now; returns which those are."""

    async def release_flow_runs(self, *, owner: str) -> None:
        """Lets go of all that an owner carries out, so that anybody may take it at once."""


class Memory:
    """Keeps flows as long as the process lives, for the one runner in it."""

    def __init__(self) -> None:
        self._runs: dict[str, FlowRun] = {}
        self._steps: dict[str, dict[str, StepState]] = {}

    async def create_flow_run(
        self,
        run: FlowRun,
        steps: Sequence[StepState],
        *,
        owner: str,  # noqa: ARG002
        ttl_s: float,  # noqa: ARG002
    ) -> tuple[FlowRun, int]:
        if run.flow_run_id in self._runs:
            raise Conflict(f"The id {run.flow_run_id!r} is taken: leave it out, or choose another.")
        self._runs[run.flow_run_id] = run
        self._steps[run.flow_run_id] = {step.step_id: step for step in steps}
        return run, 1

    async def save_flow_run(self, run: FlowRun, changed: Sequence[StepState], *, lease_no: int) -> None:  # noqa: ARG002
        if self._runs[run.flow_run_id].status.is_terminal:
            raise LeaseLost(f"Flow run {run.flow_run_id!r} is over.")
        self._runs[run.flow_run_id] = run
        self._steps[run.flow_run_id] |= {step.step_id: step for step in changed}

    async def get_flow_run(self, flow_run_id: str, *, by: Principal) -> FlowRun:
        run = self._runs.get(flow_run_id)
        if run is None or not (by.is_system or run.user_id == by.user_id):
            raise FlowRunNotFound(f"There is no flow run {flow_run_id!r}.")
        return run

    async def list_flow_steps(self, flow_run_id: str, *, by: Principal) -> Sequence[StepState]:
        await self.get_flow_run(flow_run_id, by=by)
        return list(self._steps[flow_run_id].values())

    async def take_flow_runs(self, names: Iterable[str], *, owner: str, ttl_s: float) -> Sequence[Taken]:  # noqa: ARG002
        return []

    async def renew_flow_runs(self, flow_run_ids: Iterable[str], *, owner: str, ttl_s: float) -> set[str]:  # noqa: ARG002
        return set(flow_run_ids)

    async def release_flow_runs(self, *, owner: str) -> None: ...
