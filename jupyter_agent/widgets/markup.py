"""A run as HTML and as plain text, for a notebook's output.

The words of models and tools are only ever escaped text here: no markup, class, style, link or address comes from
them, and there is no script.
"""

from collections.abc import Iterator
from html import escape

from ..client import report
from ..client.feed import Feed
from ..records import Approval
from ..transcript import ToolCallView, Transcript, TurnView
from .blocks import blocks

TEXT_SHOWN = 20_000
RESULT_SHOWN = 2_000
CALLS_SHOWN = 50
TURNS_SHOWN = 30

BOX = (
    "font-family: var(--jp-ui-font-family, sans-serif); font-size: var(--jp-ui-font-size1, 13px); "
    "border-left: 3px solid var(--jp-brand-color1, #1976d2); padding: 2px 0 2px 12px; max-width: 60em"
)
QUIET = "color: var(--jp-ui-font-color2, #666)"
PROSE = "white-space: pre-wrap; margin: 6px 0; line-height: 1.45"
CODE = (
    "white-space: pre-wrap; overflow-wrap: anywhere; margin: 2px 0 2px 14px; "
    "font-family: var(--jp-code-font-family, monospace); font-size: 0.92em"
)
ASKS = "border: 1px solid var(--jp-warn-color1, #b26a00); border-radius: 3px; padding: 6px 10px; margin: 6px 0"
FAULT = "color: var(--jp-error-color1, #b00020); white-space: pre-wrap; margin: 6px 0"


def html(feed: Feed) -> str:
    """Returns the run as it is now as HTML."""
    head = f'<div style="{QUIET}">{escape(report.status_line(feed))}</div>'
    body = feed.read(lambda seen: "".join(_body(seen)))
    fault = f'<div style="{FAULT}">{escape(feed.fault.message)}</div>' if feed.fault else ""
    return f'<div style="{BOX}" role="log">{head}{body}{fault}</div>'


def text(feed: Feed) -> str:
    """Returns the run as it is now as plain text."""
    lines = [report.status_line(feed), *feed.read(lambda seen: list(_lines(seen)))]
    if feed.fault:
        lines.append(feed.fault.message)
    return "\n".join(lines)


def _body(seen: Transcript) -> Iterator[str]:
    if len(seen.turns) > TURNS_SHOWN:
        yield f'<div style="{QUIET}">{len(seen.turns) - TURNS_SHOWN} earlier turns: see <code>run.turns.df</code></div>'
    for turn in seen.turns[-TURNS_SHOWN:]:
        yield from _turn(turn)
    for approval in seen.pending_approvals:
        yield _approval(approval)
    for asked in seen.pending_inputs:
        yield (
            f'<div style="{ASKS}"><b>The agent asks:</b> {_words(asked.prompt)}<br>'
            f'<span style="{QUIET}">It waits for your answer: {escape(report.WHERE_TO_APPROVE)}. From a cell, once the '
            f"kernel is free: <code>run.answer({escape(repr(asked.request_id))}, &quot;…&quot;)</code>.</span></div>"
        )
    if seen.error is not None:
        yield f'<div style="{FAULT}">{_words(seen.error.message)}</div>'


def _turn(turn: TurnView) -> Iterator[str]:
    if turn.thinking:
        yield (
            f'<details><summary style="{QUIET}">thinking</summary>'
            f'<div style="{PROSE}; {QUIET}">{_words(turn.thinking)}</div></details>'
        )
    if turn.text:
        yield from _prose(turn.text)
    calls = list(turn.tool_calls.values())
    if len(calls) > CALLS_SHOWN:
        yield f'<div style="{QUIET}">{len(calls) - CALLS_SHOWN} earlier tool calls</div>'
    for call in calls[-CALLS_SHOWN:]:
        yield _call(call)


def _call(call: ToolCallView) -> str:
    name, state = escape(f"{report.call_symbol(call)} {report.call_name(call)}"), escape(report.call_state(call))
    line = f'<code>{name}</code><span style="{QUIET}">{state}</span>'
    said = call.progress if call.result is None else call.result
    if not said:
        return f"<div>{line}</div>"
    shown = said[-RESULT_SHOWN:] if call.result is None else said[:RESULT_SHOWN]
    is_open = " open" if call.result is None else ""
    cut = f'<div style="{QUIET}">… {len(said):,} characters in all</div>' if len(said) > RESULT_SHOWN else ""
    return f'<details{is_open}><summary>{line}</summary><pre style="{CODE}">{_words(shown)}</pre>{cut}</details>'


def _approval(approval: Approval) -> str:
    return (
        f'<div style="{ASKS}"><b>{escape(report.wants(approval))}:</b>'
        f'<pre style="{CODE}">{_words(report.preview_text(approval))}</pre>'
        f'<span style="{QUIET}">It waits for approval: {escape(report.WHERE_TO_APPROVE)}.</span></div>'
    )


def _prose(said: str) -> Iterator[str]:
    """A model's text as it wrote it; its tables and code in a fixed width, so that columns stand."""
    for is_fixed, lines in blocks(_cut(said)):
        style = CODE if is_fixed else PROSE
        name = "pre" if is_fixed else "div"
        yield f'<{name} style="{style}">{escape(report.plain(lines))}</{name}>'


def _words(said: str) -> str:
    return escape(report.plain(_cut(said)))


def _cut(said: str) -> str:
    return said if len(said) <= TEXT_SHOWN else f"{said[:TEXT_SHOWN]}\n… {len(said):,} characters in all"


def _lines(seen: Transcript) -> Iterator[str]:
    for turn in seen.turns[-TURNS_SHOWN:]:
        if turn.text:
            yield report.plain(turn.text[:TEXT_SHOWN])
        yield from (report.call_line(call) for call in turn.tool_calls.values())
    for approval in seen.pending_approvals:
        yield f"? {report.approval_line(approval)}"
    for asked in seen.pending_inputs:
        yield f"? {report.one_line(asked.prompt, 300)} ({report.WHERE_TO_APPROVE})"
    if seen.error is not None:
        yield report.plain(seen.error.message)
