"""A run as plain text: for consoles, screen readers and exports without HTML. At most `MOST_TEXT` characters."""

from collections.abc import Iterator
from typing import Final

from . import words
from .shown import Shown

MOST_TEXT: Final = 32_000
MOST_LINE: Final = 8_000
"""Characters of one of the run's texts."""


def text(shown: Shown) -> str:
    """Returns the run as plain text; of a long one the newest turns."""
    head, foot = list(_head(shown)), list(_foot(shown))
    left = MOST_TEXT - sum(len(line) + 1 for line in (*head, *foot)) - 100
    story: list[str] = []
    for line in _newest_first(shown):
        left -= len(line) + 1
        if left < 0:
            story.append(f"… earlier: ja.open('{shown.run.run_id}') has all of it.")
            break
        story.append(line)
    return "\n".join([*head, *reversed(story), *foot])


def _head(shown: Shown) -> Iterator[str]:
    yield " · ".join(shown.standing())
    if shown.remark:
        yield words.plain(shown.remark)
    if origin := words.origin(shown.cut):
        yield origin
    if shown.cut.prompt:
        yield f"> {words.one_line(shown.cut.prompt, 300)}"


def _newest_first(shown: Shown) -> Iterator[str]:
    cut = shown.cut
    for turn in reversed(cut.turns):
        yield from (words.call_line(call, call.arguments) for call in reversed(turn.tool_calls))
        if turn.text:
            yield _cut(turn.text)
    if cut.left_out_turns:
        yield f"… {words.count(cut.left_out_turns, 'earlier turn')}: ja.open('{cut.run_id}') has all of it."


def _foot(shown: Shown) -> Iterator[str]:
    for waited in shown.cut.waiting:
        what = words.one_line(waited.what, 300)
        yield f"? It asks: {what}" if waited.kind == "input" else f"? It waits for approval of {what}"
    if shown.cut.waiting:
        yield f"  Answer it {words.WHERE_TO_APPROVE}."
    if shown.cut.error is not None:
        yield _cut(shown.cut.error.message)
    if partial := shown.partial():
        yield partial


def _cut(said: str) -> str:
    return words.plain(said if len(said) <= MOST_LINE else f"{said[:MOST_LINE]}…")
