"""What the demo model does with the files of the workspace: list, read, search, count, write."""

import re

from ..answer import Answer
from .cells import line_counts
from .conversation import Conversation, quoted, tool_call
from .phrases import counted, joined
from .reading import excerpt, file_text, listed

_SEARCHED = re.compile(
    r"\b(?:for|mentions?|contains?|find|grep|where is|search)\s+(?:the\s+)?(?:words?\s+)?([\w.@#-]{2,60})"
)


def list_all(talk: Conversation) -> Answer:
    """Lists the workspace, then says what is there."""
    if not talk.tried("list_files"):
        ending = _ending(talk)
        return Answer(
            thinking="The question is what is here, and list_files answers it.",
            text="Let me look.",
            calls=(tool_call("list_files", pattern=f"**/*{ending}") if ending else tool_call("list_files"),),
        )
    step = talk.done("list_files")[-1]
    found = listed(step)
    tables = [name for name in found if name.lower().endswith((".csv", ".tsv"))]
    hint = (
        f"\n\nTo go on: *summarise {tables[0]}*, or *which of the CSV files has the most missing values?*"
        if tables
        else ""
    )
    if not found:
        return Answer(text=f"This is what list_files says:\n\n{excerpt(step.content)}")
    return Answer(
        thinking="The listing is there, I only have to pass it on.",
        text=f"There {'is' if len(found) == 1 else 'are'} {counted(len(found), 'file')} here:\n\n"
        f"{excerpt(step.content, lines=40, characters=3_000)}{hint}",
    )


def read(talk: Conversation) -> Answer:
    """Reads the named files, then shows how they begin."""
    names = talk.paths()[:4]
    if not talk.tried("read_file"):
        return Answer(
            thinking=f"The task names {joined(names)}, so that is what I read.",
            text=f"I read {joined(names)}.",
            calls=tuple(tool_call("read_file", path=name) for name in names),
        )
    shown = (
        f"`{step.arguments.get('path', '?')}` begins like this:\n\n{excerpt(file_text(step.content), lines=30)}"
        for step in talk.done("read_file")
    )
    return Answer(thinking="I show what I read and add nothing to it.", text="\n\n".join(shown))


def search(talk: Conversation) -> Answer:
    """Searches the files for the quoted text or the word after "for"."""
    words = [word for word in quoted(talk.task) if word not in talk.files()]
    named = _SEARCHED.search(talk.task[:500])
    query = words[0] if words else named[1] if named else None
    if query is None:
        return Answer(text='I can search the files. Put what I shall look for in quotes: *search for "total cost"*.')
    if not talk.tried("search_files"):
        return Answer(
            thinking=f"I look for {query!r} in the text of all files.",
            text=f"I search the files for `{query}`.",
            calls=(tool_call("search_files", query=literal(query)),),
        )
    step = talk.done("search_files")[-1]
    return Answer(
        thinking="These are the places that search_files found.",
        text=f"This is where `{query}` occurs:\n\n{excerpt(step.content, lines=30, characters=3_000)}",
    )


def literal(text: str) -> str:
    """Returns the regular expression that matches this text and nothing else."""
    return re.sub(r"([\\.^$*+?()\[\]{}|])", r"\\\1", text)


def count(talk: Conversation) -> Answer:
    """Counts files by listing them, or lines by a cell."""
    names = talk.paths()
    if talk.says(r"(how many|number of|count).{0,30}\bfiles?\b") and not names:
        return _count_files(talk)
    names = names or [name for name in [talk.earlier_file(".csv")] if name]
    if not names:
        if not talk.tried("list_files"):
            return Answer(
                thinking="No file is named, so I see first which CSV files there are.",
                text="I see which CSV files there are.",
                calls=(tool_call("list_files", pattern="**/*.csv"),),
            )
        names = [name for step in talk.done("list_files") for name in listed(step, ".csv")]
        if not names:
            return Answer(text="There is no CSV file here to count in. Name a file: *how many lines has `notes.txt`?*")
    if not talk.tried("run_cell"):
        return Answer(
            thinking="Counting lines is a short loop. It is code, so a person is asked before it runs.",
            text=f"I count the lines of {joined(names)} in a cell.",
            calls=(tool_call("run_cell", code=line_counts(names[:40])),),
        )
    step = talk.done("run_cell")[-1]
    note = (
        "A CSV file's first line is its header: it has one row fewer." if any(n.endswith(".csv") for n in names) else ""
    )
    return Answer(
        thinking="The cell printed the counts.", text=f"The counts:\n\n{excerpt(step.content)}\n\n{note}".rstrip()
    )


def _ending(talk: Conversation) -> str:
    """Returns the ending of the kind of files that the task is about, "" for all kinds."""
    return next((f".{kind}" for kind in ("csv", "ipynb", "py", "md", "txt", "json") if talk.says(rf"\b{kind}\b")), "")


def _count_files(talk: Conversation) -> Answer:
    ending = _ending(talk)
    if not talk.tried("list_files"):
        return Answer(
            thinking="I list them and count the lines of the listing.",
            text="I list them.",
            calls=(tool_call("list_files", pattern=f"**/*{ending or '*'}"),),
        )
    found = [name for step in talk.done("list_files") for name in listed(step, ending)]
    names = f": {joined(found)}" if found else ""
    return Answer(
        thinking="I count what the listing names.",
        text=f"{counted(len(found), f'{ending} file'.strip()).capitalize()}{names}.",
    )


def write_file(talk: Conversation) -> Answer:
    """Creates the named file with the text that the task gives."""
    name = next(iter(talk.files()), "notes.md")
    if not talk.tried("create_file"):
        return Answer(
            thinking=f"I write {name}. Writing needs an approval, so I am asked to show the text first.",
            text=f"I create `{name}`: have a look at its text and approve it.",
            calls=(tool_call("create_file", path=name, content=_content(talk, name)),),
        )
    step = talk.done("create_file")[-1]
    return Answer(
        thinking="The tool reports what it did.",
        text=f"Done. {' '.join(step.content.split())[:300]}",
    )


def _content(talk: Conversation, name: str) -> str:
    """Returns the text to write: a code block, what follows "containing", a quotation, or a line on its origin."""
    if (block := fenced(talk.task)) is not None:
        return block + "\n"
    found = re.search(
        r"\b(?:containing|saying|with the (?:text|content|words|line)|that says|with)\b:?\s+(.+)", talk.task, re.DOTALL
    )
    if found:
        return found[1].strip().strip("\"'`") + "\n"
    if words := [word for word in quoted(talk.task) if word != name]:
        return words[0] + "\n"
    return f"The demo model of jupyter_agent wrote this file. It was asked:\n\n> {talk.task[:500]}\n"


def fenced(text: str) -> str | None:
    """Returns the first fenced block of a text, None if there is none."""
    _, opening, rest = text.partition("```")
    body, closing, _ = rest.partition("```")
    if not opening or not closing:
        return None
    first, newline, after = body.partition("\n")
    return after.rstrip() if newline and re.fullmatch(r"\w*\s*", first) else body.strip()
