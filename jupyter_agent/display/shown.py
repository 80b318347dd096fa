"""What is shown of a run in words: the whole, what is kept of it, and what only the moment knows."""

from dataclasses import dataclass
from datetime import datetime

from ..compact import CompactRun
from ..records import Usage
from . import words


@dataclass(frozen=True)
class Shown:
    """A run to be shown. Figures are of the whole `run`, its story is told from `cut`, what is kept of it.

    `now` is the time for a run that goes on; without it the time of the last event stands for it. `remark` is a
    sentence on how the run is followed, such as a lost connection.
    """

    run: CompactRun
    cut: CompactRun
    now: datetime | None = None
    remark: str = ""

    @property
    def turn_count(self) -> int:
        return len(self.run.turns) + self.run.left_out_turns

    def standing(self) -> list[str]:
        """Returns where the run stands, part by part, its status first."""
        run, usage = self.run, self.run.usage
        if run.live_usage is not None:
            live = run.live_usage
            usage += Usage(input_tokens=live.input_tokens, output_tokens=live.output_tokens, requests=1)
        return words.standing(
            run.status,
            model=run.model or "",
            elapsed_s=self._elapsed_s(),
            turns=self.turn_count,
            tool_calls=sum(len(turn.tool_calls) for turn in run.turns),
            usage=usage,
        )

    def partial(self) -> str:
        """Returns what to say of a run that has not ended; empty for one that has."""
        if self.run.is_final:
            return ""
        at = self.now or self.run.last_at
        when = f", at {words.moment(at)}" if at else ""
        return f"Partial: the run was still going when this was saved{when}."

    def _elapsed_s(self) -> float | None:
        run = self.run
        end = run.last_at if run.is_final or self.now is None else self.now
        return max(0.0, (end - run.first_at).total_seconds()) if run.first_at and end else None
