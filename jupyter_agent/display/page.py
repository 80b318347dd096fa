"""A run as HTML: for nbconvert, GitHub, and every front end where nothing of ours is installed.

What others said reaches it only as text (see markup). It has no more than `MOST_HTML` bytes: long texts are cut first,
then the oldest turns and tool calls left out, and the reader is told where the rest is.
"""

import json
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Final

from ..compact import CompactCall, CompactTurn
from ..records import Outcome
from . import words
from .blocks import blocks
from .markup import CODE, Markup, Style, tag
from .shown import Shown

MOST_HTML: Final = 128 * 1024
STEPS: Final = (16_000, 4_000, 1_000)
"""How many characters of one text are shown, tried one after the other; of what a tool was given and gave a quarter."""

WAITS_SHOWN: Final = 10
MOST_WAIT_CHARS: Final = 500
POINTER_BYTES: Final = 1_000
"""Room for the lines that say what is left out, which are written last."""


def html(shown: Shown) -> str:
    """Returns the run as HTML."""
    for limit in STEPS[:-1]:
        page = _Page(shown, limit)
        document = page.document()
        if not page.is_full:
            return str(document)
    return str(_Page(shown, STEPS[-1]).document())  # plain, as what writes JSON takes no text of another kind


def document(shown: Shown) -> str:
    """Returns all of the run as a document of its own: nothing is left out, nothing is executed or fetched."""
    page = _Page(shown, sys.maxsize, most=sys.maxsize).document()
    title = words.one_line(f"Run {shown.run.run_id}").translate(CODE)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="color-scheme" content="light dark">'
        f"<title>{title}</title></head><body>{page}</body></html>\n"
    )


class _Page:
    """One attempt, with texts of at most `limit` characters: the newest first, until `most` bytes are full."""

    def __init__(self, shown: Shown, limit: int, *, most: int = MOST_HTML) -> None:
        self.is_full = False
        self._shown = shown
        self._limit = limit
        self._brief = limit // 4
        self._left = most - POINTER_BYTES
        self._is_cut = bool(shown.cut.left_out_characters)

    def document(self) -> Markup:
        head, foot = list(self._head()), list(self._foot())
        for part in (*head, *foot):
            self._take(part)
        turns = self._turns()
        return tag("div", Style.BOX, *head, *self._left_out(len(turns)), *turns, *foot, *self._pointer())

    def _take(self, part: Markup) -> bool:
        self._left -= len(part.encode())
        self.is_full = self.is_full or self._left < 0
        return not self.is_full

    # --- above and below --------------------------------------------------------------------------------------

    def _head(self) -> Iterator[Markup]:
        run = self._shown.cut
        status, *facts = self._shown.standing()
        when = f" · {words.moment(run.first_at)}" if run.first_at else ""
        line = tag("span", Style.QUIET, "".join(f" · {fact}" for fact in facts) + when)
        yield tag("div", Style.HEAD, tag("b", Style.NONE, status), line)
        if self._shown.remark:
            yield tag("div", Style.SMALL, words.plain(self._shown.remark))
        if origin := words.origin(run):
            yield tag("div", Style.SMALL, origin)
        if run.prompt or run.pictures:
            pictures = f" ({words.count(run.pictures, 'picture')})" if run.pictures else ""
            yield tag("div", Style.ASKED, self._text(run.prompt), tag("span", Style.SMALL, pictures))

    def _foot(self) -> Iterator[Markup]:
        run = self._shown.cut
        yield from islice(self._waits(), WAITS_SHOWN)
        if run.error is not None:
            yield tag("div", Style.FAULT, self._text(run.error.message))
        if partial := self._shown.partial():
            yield tag("div", Style.SMALL, partial)

    def _waits(self) -> Iterator[Markup]:
        """What waits for a person: with what exactly will happen, where the gateway said it."""
        run = self._shown.run
        where = tag("div", Style.SMALL, f"Answer it {words.WHERE_TO_APPROVE}.")
        for approval in run.approvals:
            preview = tag("pre", Style.CODE, self._text(words.preview_text(approval), self._brief))
            yield tag("div", Style.WAITS, tag("b", Style.NONE, f"{words.wants(approval)}:"), preview, where)
        for asked in run.inputs:
            question = words.plain(asked.prompt[:MOST_WAIT_CHARS])
            yield tag("div", Style.WAITS, tag("b", Style.NONE, "The agent asks: "), question, where)
        for waited in run.waiting:
            what = words.one_line(waited.what, MOST_WAIT_CHARS)
            label = "It had asked: " if waited.kind == "input" else "It waited for approval of "
            yield tag("div", Style.WAITS, label, tag("b", Style.NONE, what))

    def _left_out(self, turns: int) -> Iterator[Markup]:
        earlier = self._shown.turn_count - turns
        if earlier:
            yield tag("div", Style.SMALL, f"{words.count(earlier, 'earlier turn')} left out here.")

    def _pointer(self) -> Iterator[Markup]:
        if self._is_cut or self.is_full or self._shown.cut.left_out_turns:
            opened = tag("code", Style.MONO, f"ja.open({json.dumps(self._shown.run.run_id)})")
            yield tag("div", Style.SMALL, "Not all of the run is here: ", opened, " has it, where its server is.")

    # --- turns ------------------------------------------------------------------------------------------------

    def _turns(self) -> list[Markup]:
        turns: list[Markup] = []
        for turn in reversed(self._shown.cut.turns):
            said = list(self._said(turn))
            if not self._take(tag("div", Style.NONE, *said)):
                break
            turns.append(tag("div", Style.NONE, *said, *self._calls(turn)))
        return turns[::-1]

    def _said(self, turn: CompactTurn) -> Iterator[Markup]:
        if turn.thinking:
            thought = tag("div", Style.THOUGHT, self._text(turn.thinking))
            yield tag("details", Style.NONE, tag("summary", Style.SMALL, "Thought"), thought)
        for is_fixed, lines in blocks(self._text(turn.text)):
            yield tag("pre", Style.CODE, lines) if is_fixed else tag("div", Style.PROSE, lines)

    def _calls(self, turn: CompactTurn) -> list[Markup]:
        calls: list[Markup] = []
        for call in reversed(turn.tool_calls):
            shown = self._call(call)
            if not self._take(shown):
                earlier = words.count(len(turn.tool_calls) - len(calls), "earlier tool call")
                calls.append(tag("div", Style.SMALL, f"{earlier} left out here."))
                break
            calls.append(shown)
        return calls[::-1]

    def _call(self, call: CompactCall) -> Markup:
        state = words.call_state(call)
        if call.decision is not None:
            decided = f" · {words.DECISIONS[call.decision]}"
            state = decided if call.outcome is Outcome.REJECTED else state + decided
        line = [
            tag("span", Style.MONO, f"{words.call_symbol(call)} "),
            tag("b", Style.MONO, words.one_line(call.name)),
            tag("span", Style.QUIET_MONO, f" {words.arguments_line(call.arguments)}"),
            tag("span", Style.SMALL, state),
        ]
        parts = list(self._facts(call))
        if not parts:
            return tag("div", Style.CALL, *line)
        # The mark of `details` is the browser's own.
        return tag("details", Style.CALL, tag("summary", Style.NONE, *line), *parts, is_open=call.result is None)

    def _facts(self, call: CompactCall) -> Iterator[Markup]:
        """What a call was given and what it gave, for who unfolds it."""
        given = words.arguments_text(call.arguments)
        if given and given != "{}":
            yield tag("pre", Style.CODE, self._text(given, self._brief))
        if call.diff:
            yield tag("pre", Style.CODE, *self._diff(call.diff))
        if call.result is None and call.progress:
            self._is_cut = self._is_cut or len(call.progress) > self._brief
            yield tag("pre", Style.CODE, words.plain(call.progress[-self._brief :]))
        if call.result or (call.error and call.outcome):
            yield tag("pre", Style.CODE, self._text(call.result or call.error or "", self._brief))
        if call.mime:
            kinds = ", ".join(islice(map(words.one_line, call.mime), 8))
            yield tag("div", Style.SMALL, f"It also gave {kinds}.")

    def _diff(self, diff: str) -> Iterator[Markup]:
        for line in self._text(diff, self._brief).splitlines():
            yield tag("span", _changed(line), f"{line}\n")

    def _text(self, said: str, most: int | None = None) -> str:
        """Returns a text for people, cut at `most` characters."""
        most = self._limit if most is None else most
        if len(said) <= most:
            return words.plain(said)
        self._is_cut = True
        return words.plain(f"{said[:most]}…")


def _changed(line: str) -> Style:
    if line.startswith(("+++", "---")):
        return Style.QUIET
    return Style.ADDED if line.startswith("+") else Style.REMOVED if line.startswith("-") else Style.NONE
