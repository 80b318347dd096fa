"""What the demo model does in the notebook's kernel: plot columns, summarise a frame, run what it is given."""

import re
import shlex

from ..answer import Answer
from . import cells
from .conversation import Conversation, Step, quoted, tool_call
from .files import fenced
from .phrases import joined
from .reading import excerpt, file_text, listed

_FRAME = re.compile(
    r"\b(?:data ?frame|frame|variable)\s+[`\"']?([A-Za-z_]\w{0,60})\b|`([A-Za-z_]\w{0,60})`", re.IGNORECASE
)
_EXPRESSION = re.compile(
    r"\b(?:compute|calculate|evaluate|what is)\s+([-+*/%().\d ]{0,100}\d *[-+*/%][-+*/%().\d ]{0,100}[\d)])",
    re.IGNORECASE,
)
_NO_NAMES = frozenset({"in", "of", "is", "with", "and", "here", "the", "that", "from", "called", "named", "for", "on"})


def plot_columns(talk: Conversation) -> Answer:
    """Draws a CSV file: finds it, reads its header to know its columns, draws in a cell."""
    if talk.tried("run_cell"):
        return _show(talk.done("run_cell")[-1], picture=True)
    name = _csv_file(talk)
    if isinstance(name, Answer):
        return name
    if not talk.tried("read_file") and talk.has("read_file"):
        return Answer(
            thinking=f"I draw {name}. Its header tells me which columns there are.",
            text=f"I look at the columns of `{name}`.",
            calls=(tool_call("read_file", path=name, max_lines=5),),
        )
    heads = [file_text(step.content).splitlines()[:1] for step in talk.done("read_file")]
    columns = [column.strip(' "') for head in heads for line in head for column in line.split(",")]
    asked = [column for column in columns if column and talk.says(rf"(?<!\w){re.escape(column)}(?!\w)")]
    return Answer(
        thinking=f"Asked for by name: {joined(asked)}."
        if asked
        else "No column is named, so I draw all that hold numbers.",
        text=f"I plot {joined(asked) if asked else 'the numeric columns'} of `{name}`: please approve the cell.",
        calls=(tool_call("run_cell", code=cells.plot(name, asked, histogram=talk.says("histogram|distribution"))),),
    )


def summarise(talk: Conversation) -> Answer:
    """Describes a DataFrame of the notebook or a CSV file with pandas; other files are read."""
    if talk.tried("run_cell"):
        return _show(talk.done("run_cell")[-1])
    others = [name for name in talk.files() if not name.lower().endswith(".csv")]
    if others and not talk.files(".csv"):
        return _glance(talk, others[0])
    if (variable := _frame(talk)) is not None:
        return Answer(
            thinking=f"{variable} is a variable of the notebook, so the cell runs where it lives.",
            text=f"I describe the frame `{variable}`: please approve the cell.",
            calls=(tool_call("run_cell", code=cells.summary_of_frame(variable)),),
        )
    name = _csv_file(talk)
    if isinstance(name, Answer):
        return name
    if not talk.has("run_cell"):
        return _glance(talk, name)
    return Answer(
        thinking=f"pandas' describe gives count, mean, spread and extremes of every column of {name}.",
        text=f"I describe `{name}` with pandas: please approve the cell.",
        calls=(tool_call("run_cell", code=cells.summary_of_file(name)),),
    )


def run_code(talk: Conversation) -> Answer:
    """Runs the Python or the command that the task holds, as it stands."""
    code, is_command = code_in(talk) or ("", False)
    if talk.tried("run_cell", "run_command"):
        return _show(talk.done("run_cell", "run_command")[-1], picture=True)
    if is_command and talk.has("run_command"):
        return Answer(
            thinking="This is a command, and run_command takes it word by word, without a shell.",
            text=f"I run `{code[:200]}`: please approve it.",
            calls=(tool_call("run_command", argv=_words(code)),),
        )
    return Answer(
        thinking="The task holds what is to be run. I pass it on as it stands; a person sees it before it runs.",
        text="I run it in the notebook's kernel: please approve the cell.",
        calls=(tool_call("run_cell", code=f"!{code}" if is_command else code),),
    )


def code_in(talk: Conversation) -> tuple[str, bool] | None:
    """Returns the code that the task asks to run, and whether it is a command; None if it asks for neither."""
    if found := _EXPRESSION.search(talk.task[:500]):
        return f"print({found[1]})", False
    if not talk.says(r"\b(run|execute|evaluate|compute|calculate)\b"):
        return None
    is_command = talk.says(r"\b(command|shell|terminal)\b")
    code = fenced(talk.task)
    if code is None:
        code = next((text for text in quoted(talk.task) if text not in talk.files()), None)
    if code is None and (
        found := re.search(
            r"\b(?:run|execute)(?: the)?(?: command\b:?|:)\s*(.{1,2000})", talk.task, re.DOTALL | re.IGNORECASE
        )
    ):
        code = found[1].strip()
    return (code, is_command) if code else None


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


def _frame(talk: Conversation) -> str | None:
    """Returns the variable that the task names as a frame."""
    if talk.files(".csv") or not talk.says(r"frame|variable|`"):
        return None
    names = (first or second for first, second in _FRAME.findall(talk.task[:500]))
    return next((name for name in names if name.lower() not in _NO_NAMES), None)


def _csv_file(talk: Conversation) -> str | Answer:
    """Returns the CSV file that is meant, or the answer that finds out or gives up."""
    if named := talk.paths(".csv"):
        return named[0]
    if earlier := talk.earlier_file(".csv"):
        return earlier
    if not talk.tried("list_files"):
        return Answer(
            thinking="No file is named, so I see first which CSV files there are.",
            text="I see which CSV files there are.",
            calls=(tool_call("list_files", pattern="**/*.csv"),),
        )
    found = [name for step in talk.done("list_files") for name in listed(step, ".csv")]
    return (
        found[0]
        if found
        else Answer(text="I found no CSV file here. Name a file or a frame: *summarise the frame `df`*.")
    )


def _glance(talk: Conversation, name: str) -> Answer:
    """Shows how a file begins: all that can be done without running code."""
    if not talk.tried("read_file"):
        return Answer(
            thinking=f"I run no code on {name}, so I read its beginning.",
            text=f"I read `{name}`.",
            calls=(tool_call("read_file", path=name),),
        )
    text = file_text(talk.done("read_file")[-1].content)
    return Answer(
        thinking="A real summary needs a language model. I show the beginning and the size of what I read.",
        text=f"I am a set of rules and cannot sum up prose. What I read of `{name}` has {len(text.splitlines())} lines "
        f"and {len(text.split())} words, and begins like this:\n\n{excerpt(text)}",
    )


def _show(step: Step, *, picture: bool = False) -> Answer:
    """Returns what the cell gave, as it is."""
    shown = excerpt(step.content, lines=40, characters=3_000) if step.content.strip() else "It printed nothing."
    image = "\n\nThe plot is in the output above." if picture and step.images else ""
    return Answer(thinking="It ran. I pass on what came out.", text=f"It ran. The output:\n\n{shown}{image}")
