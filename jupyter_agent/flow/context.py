"""What a function of a flow is given: the arguments, and what the steps before it gave."""

from collections.abc import Mapping
from typing import Any

from ..exceptions import InvalidRequest
from .state import StepState, StepStatus


class Context:
    """The arguments of the run as `args`, and the results of steps by their id: `ctx["read"]`.

    A function of a step sees only the steps that it stands behind, so that it answers the same however long the others
    take; `render` sees all.
    """

    def __init__(self, args: Mapping[str, Any], states: Mapping[str, StepState], *, of: str = "") -> None:
        self.args = args
        self._states = states
        self._of = of

    def __getitem__(self, step_id: str) -> Any:
        """Returns what a step gave, None where it was not completed."""
        return self._state(step_id).output

    def status(self, step_id: str) -> StepStatus:
        """Returns where a step stands."""
        return self._state(step_id).status

    def error(self, step_id: str) -> str | None:
        """Returns why a step was not completed, None where it was."""
        return self._state(step_id).error

    @property
    def outputs(self) -> dict[str, Any]:
        """What the completed steps gave, by id."""
        return {name: one.output for name, one in self._states.items() if one.status is StepStatus.COMPLETED}

    def _state(self, step_id: str) -> StepState:
        if (found := self._states.get(step_id)) is not None:
            return found
        raise InvalidRequest(
            f"Step {self._of!r} asks for {step_id!r}, which is none of the steps before it: name it in its deps."
        )
