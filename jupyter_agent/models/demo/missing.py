"""The tour's main job: which of the CSV files misses the most values, counted and drawn.

List the files, look at their beginnings, count in a cell that a person approves, answer from what the cell printed.
With no kernel to use the files are read and counted as text instead.
"""

from ..answer import Answer
from .cells import missing_values
from .conversation import Conversation, Step, tool_call
from .phrases import PLOT, closing, counted, joined, refused
from .reading import (
    Count,
    bars,
    count_missing,
    excerpt,
    file_text,
    is_cut,
    listed,
    printed_counts,
    printed_faults,
)

FILES_MOST = 40
PEEKS = 3
READS_MOST = 12


def find_missing(talk: Conversation) -> Answer:
    """Returns the next answer on the way."""
    if talk.tried("run_cell"):
        return _from_cell(talk)
    names = talk.files(".csv") or _listed_names(talk)
    if names is None:
        return _list(talk)
    if not names:
        return Answer(
            thinking="The listing shows no file that ends in .csv, so there is nothing to count.",
            text="I looked, and there is **no CSV file** in this workspace, so there is nothing to count or to plot. "
            "Put one beside the notebook and ask again.",
        )
    if talk.has("run_cell") and not talk.says(r"without (running|executing)|do not run|don't run"):
        return _peek_or_run(talk, names[:FILES_MOST])
    return _read_and_count(talk, names[:READS_MOST])


def _listed_names(talk: Conversation) -> list[str] | None:
    listings = [step for step in talk.steps if step.name == "list_files"]
    return [name for step in listings for name in listed(step, ".csv")] if listings else None


def _list(talk: Conversation) -> Answer:
    if not talk.has("list_files"):
        return Answer(
            text="I cannot look for CSV files: no tool that lists files was given to me. Name the files in your "
            "question (for example `data/sales.csv`), or switch the tool `list_files` on."
        )
    return Answer(
        thinking="The question is about all the CSV files here, so I do not guess their names: I list them first. "
        "Then I look at how they begin, count in a cell, and answer from what that cell prints.",
        text="Let me see which CSV files there are.",
        calls=(tool_call("list_files", pattern="**/*.csv"),),
    )


def _peek_or_run(talk: Conversation, names: list[str]) -> Answer:
    if not talk.tried("read_file") and talk.has("read_file"):
        some = names[:PEEKS]
        return Answer(
            thinking=f"{counted(len(names), 'CSV file')}: {joined(names)}. Before I write code I look at the first "
            "lines, to see that these are plain tables with a header.",
            text=f"I found {counted(len(names), 'CSV file')}. This is how "
            f"{'they begin' if len(some) > 1 else f'`{some[0]}` begins'}:",
            calls=tuple(tool_call("read_file", path=name, max_lines=5) for name in some),
        )
    plot = talk.says(PLOT)
    return Answer(
        thinking="pandas can read these. One cell is enough: count the empty values per file and per column, print the "
        f"numbers{', and draw them' if plot else ''}. It runs in the notebook's kernel, so a person is asked first.",
        text="They are ordinary tables. I count the missing values with pandas"
        + (" and plot them" if plot else "")
        + ": please look at the cell and approve it.",
        calls=(tool_call("run_cell", code=missing_values(names, plot=plot)),),
    )


def _from_cell(talk: Conversation) -> Answer:
    step = next(step for step in reversed(talk.steps) if step.name == "run_cell")
    if step.was_refused:
        return refused(
            step,
            "I can count without running code: ask again and add *without running code*, "
            "then I read the files and count the empty fields myself.",
        )
    counts = printed_counts(step.content)
    if counts:
        return _verdict(talk, counts, printed_faults(step.content), step)
    if step.is_error and talk.has("read_file") and not talk.says("without running"):
        return _after_failed_cell(talk, step)
    what = "ended with an error" if step.is_error else "ran, but printed no counts that I can read"
    return Answer(
        thinking="There are no counts in the cell's output, and I do not make numbers up.",
        text=f"The cell {what}, so I have no numbers to give you. Its output:\n\n{excerpt(step.content)}",
    )


def _after_failed_cell(talk: Conversation, failed: Step) -> Answer:
    """Returns the way around a cell that failed before it printed anything: counting in the text of the files."""
    names = talk.files(".csv") or _listed_names(talk) or []
    whole = [step for step in talk.steps if step.round > failed.round and step.name == "read_file"]
    last_line = failed.content.strip().splitlines()[-1][:200] if failed.content.strip() else "no message"
    if not whole and names:
        return Answer(
            thinking=f"The cell failed: {last_line}. The numbers are in the files themselves, so I read those instead.",
            text=f"The cell failed (`{last_line}`). I read the files and count the empty fields without the kernel.",
            calls=tuple(tool_call("read_file", path=name, max_lines=10_000) for name in names[:READS_MOST]),
        )
    return _count_texts(talk, whole)


def _read_and_count(talk: Conversation, names: list[str]) -> Answer:
    if not talk.has("read_file"):
        return Answer(
            text=f"There are {joined(names)}, but I was given no tool that runs code or reads files, so I cannot look "
            "inside."
        )
    reads = [step for step in talk.steps if step.name == "read_file"]
    if not reads:
        return Answer(
            thinking="I run no code here, so I read the files and count the empty fields in their text.",
            text=f"I read {joined(names)} and count the empty fields, without running code.",
            calls=tuple(tool_call("read_file", path=name, max_lines=10_000) for name in names),
        )
    return _count_texts(talk, reads)


def _count_texts(talk: Conversation, reads: list[Step]) -> Answer:
    faults = {str(step.arguments.get("path", "?")): step.content[:200] for step in reads if step.is_error}
    good = [step for step in reads if not step.is_error]
    counts = [count_missing(str(step.arguments.get("path", "?")), file_text(step.content)) for step in good]
    if not counts:
        return Answer(
            text="I could read none of the files, so I have no numbers to give you:\n\n"
            + "\n".join(f"- `{name}`: {fault}" for name, fault in faults.items())
        )
    cut = [str(step.arguments.get("path", "?")) for step in good if is_cut(step.content)]
    return _verdict(talk, counts, faults, good[-1], cut=cut)


def _verdict(
    talk: Conversation, counts: list[Count], faults: dict[str, str], step: Step, *, cut: list[str] | None = None
) -> Answer:
    """Returns the answer, from nothing but the counts."""
    ranked = sorted(counts, key=lambda count: (-count.missing, count.name))
    first = ranked[0]
    plot_failed = step.name == "run_cell" and step.is_error
    return Answer(
        thinking=_check(ranked),
        text="\n\n".join(
            filter(
                None,
                [
                    _headline(ranked),
                    _table(ranked),
                    _columns(first),
                    _figure(talk, ranked, step),
                    _plot_fault(step) if plot_failed else "",
                    "".join(f"`{name}` could not be read: {fault}\n" for name, fault in faults.items()).strip(),
                    f"Only the beginning of {joined(cut)} was read, so the true counts may be higher." if cut else "",
                    closing(step),
                ],
            )
        ),
    )


def _check(ranked: list[Count]) -> str:
    numbers = ", ".join(f"{count.name} {count.missing}" for count in ranked[:6])
    return f"The counts are there: {numbers}. I take the answer from these lines and compare the shares as well."


def _headline(ranked: list[Count]) -> str:
    first = ranked[0]
    if not first.missing:
        return f"**None of them misses a value**: all {counted(len(ranked), 'CSV file')} are complete."
    ties = [count.name for count in ranked if count.missing == first.missing]
    if len(ties) > 1:
        return f"It is a tie: {joined(ties)} miss **{first.missing} values** each."
    text = (
        f"**`{first.name}` has the most missing values: {first.missing} of {first.values} "
        f"({first.share:.1%}) are empty.**"
    )
    densest = max(ranked, key=lambda count: count.share)
    if densest.name != first.name:
        text += f" By share it would be `{densest.name}`, with {densest.share:.1%}."
    return text


def _table(ranked: list[Count]) -> str:
    rows = (f"| `{count.name}` | {count.missing} | {count.values} | {count.share:.1%} |" for count in ranked)
    return "| file | missing | values | share |\n|---|---:|---:|---:|\n" + "\n".join(rows)


def _columns(first: Count) -> str:
    if not first.columns:
        return ""
    most = sorted(first.columns.items(), key=lambda item: -item[1])[:3]
    named = ", ".join(f"`{column}` ({count})" for column, count in most)
    return f"In `{first.name}` {'most gaps' if len(first.columns) > len(most) else 'the gaps'} are in {named}."


def _figure(talk: Conversation, ranked: list[Count], step: Step) -> str:
    if not talk.says(PLOT):
        return ""
    if step.images:
        return "The plot shows all files on the left, the worst one by column on the right."
    return bars({count.name: count.missing for count in ranked})


def _plot_fault(step: Step) -> str:
    last = step.content.strip().splitlines()[-1][:200]
    return f"The plot itself failed (`{last}`), so the bars above are drawn in text from the printed counts."
