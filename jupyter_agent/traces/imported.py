"""What an import gives: runs, turns, messages and calls as facts and frames, and a summary that hides nothing."""

from typing import TYPE_CHECKING, Any

from ..client.rows import Rows
from ..display import words
from ..display.markup import Style, tag
from ..frames.told import Told
from ..records import Outcome, RunStatus, Usage
from .book import Book
from .facts import ImportedCall, ImportedMessage, ImportedRun, ImportedTurn, Unmapped
from .telling import tell

if TYPE_CHECKING:
    from ..frames.diff import Diff

SHOWN = 10
"""Kinds of unmapped things in a summary. `unmapped.df` has all."""


class ImportedTraces:
    """The runs of a log of another agent. Each list has a `.df` with the columns of our own frames, and foreign ids.

    `usage` sums what the log reports; what it does not report adds nothing. `unmapped` counts what is in the log and is
    no fact of ours.
    """

    def __init__(self, book: Book, name: str) -> None:
        self.format = book.format
        self.source = name
        self.runs: Rows[ImportedRun] = Rows.of("imported_runs", book.runs)
        self.turns: Rows[ImportedTurn] = Rows.of("imported_turns", book.turns)
        self.messages: Rows[ImportedMessage] = Rows.of("imported_messages", book.messages)
        self.tool_calls: Rows[ImportedCall] = Rows.of("imported_tool_calls", book.tool_calls)
        self.unmapped: Rows[Unmapped] = Rows.of("unmapped", book.unmapped())

    @property
    def usage(self) -> Usage:
        """Tokens and money of all runs, each counted once."""
        usages = [run.usage for run in self.runs]
        costs = [usage.cost for usage in usages if usage.cost is not None]
        names = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens",
                 "requests", "unmeasured_requests")  # fmt: skip
        sums = {name: sum(getattr(usage, name) for usage in usages) for name in names}
        return Usage(**sums, cost=sum(costs) if costs else None)

    @property
    def errors(self) -> int:
        """How many tool calls, model calls and runs the log says have failed."""
        return self._failed_calls() + self._failed_turns() + self._failed_runs()

    def export(self, path: Any, *, format: str = "auto", overwrite: bool = False) -> Any:  # noqa: A002 - the spec's name
        """Writes the runs to a file, like `ja.export`."""
        from .exporting import export

        return export(self, path, format=format, overwrite=overwrite)

    def told(self, run: str | None = None) -> Told:
        """Returns a run turn by turn, by its id here or in the log; the only one without. Raises InvalidRequest."""
        return tell(self, run)

    def diff(self, a: str, b: str) -> "Diff":
        """Returns two of its runs side by side, like `ja.diff`, by what the log tells: messages, models. Raises
        InvalidRequest for what is no run of it."""
        from ..frames.diff import Diff

        return Diff(self.told(a), self.told(b))

    def _failed_calls(self) -> int:
        failed = (Outcome.ERROR, Outcome.TIMED_OUT)
        return sum(call.outcome in failed for call in self.tool_calls)

    def _failed_turns(self) -> int:
        return sum(turn.stop_reason == "error" for turn in self.turns)

    def _failed_runs(self) -> int:
        return sum(run.status is RunStatus.ERROR for run in self.runs)

    def _counts(self) -> list[tuple[str, str]]:
        usage = self.usage
        is_measured = any(run.is_measured for run in self.runs)
        unanswered = sum(call.outcome is None for call in self.tool_calls)
        failed = [
            (self._failed_calls(), "tool call"),
            (self._failed_turns(), "model call"),
            (self._failed_runs(), "run"),
        ]
        cached = f", {usage.cache_read_tokens:,} of the input from a cache" if usage.cache_read_tokens else ""
        tokens = f"{usage.input_tokens:,} in{cached}, {usage.output_tokens:,} out" if is_measured else "not reported"
        return [
            ("runs", f"{len(self.runs):,}"),
            ("turns", f"{len(self.turns):,}"),
            ("messages", f"{len(self.messages):,}"),
            ("tool calls", f"{len(self.tool_calls):,}" + (f", {unanswered:,} without a result" if unanswered else "")),
            ("failed", ", ".join(words.count(number, noun) for number, noun in failed if number) or "nothing"),
            ("tokens", tokens),
            ("cost", "not reported" if usage.cost is None else f"${usage.cost:.6g}"),
        ]

    def __repr__(self) -> str:
        lines = [f"Imported from {words.one_line(self.source)} ({self.format})"]
        lines += [f"  {name + ':':<12}{value}" for name, value in self._counts()]
        lines.append(f"  {'unmapped:':<12}{words.count(sum(item.count for item in self.unmapped), 'thing')}")
        lines += [f"    {item.count:>6,} times: {words.one_line(item.kind)} (first: {words.one_line(item.first_place)})"
                  for item in self.unmapped[:SHOWN]]  # fmt: skip
        if len(self.unmapped) > SHOWN:
            lines.append(f"    … and {len(self.unmapped) - SHOWN} more kinds")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = tag(
            "div", Style.HEAD, tag("b", Style.NONE, "Imported"), f" from {words.one_line(self.source)} ({self.format})"
        )
        counts = [
            tag("div", Style.NONE, tag("span", Style.QUIET, f"{name}: "), value) for name, value in self._counts()
        ]
        total = words.count(sum(item.count for item in self.unmapped), "thing")
        missed = [
            tag("div", Style.SMALL, f"{item.count:,} times: ", words.one_line(item.kind), " · first: ",
                words.one_line(item.first_place))
            for item in self.unmapped[:SHOWN]
        ]  # fmt: skip
        if len(self.unmapped) > SHOWN:
            missed.append(tag("div", Style.SMALL, f"… and {len(self.unmapped) - SHOWN} more kinds"))
        unmapped = tag("details", Style.CALL, tag("summary", Style.NONE, f"unmapped: {total}"), *missed)
        return str(tag("div", Style.BOX, head, *counts, unmapped))
