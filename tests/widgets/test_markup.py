"""What a notebook shows of a run: the words of models and tools are text, whatever they look like."""

from html.parser import HTMLParser

import pytest

from jupyter_agent import events as ev
from jupyter_agent.client.feed import Feed
from jupyter_agent.records import Effect, Outcome, RunStatus, Text
from jupyter_agent.widgets import markup
from tests.client.peer import START

ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"><svg onload=alert(1)>",
    "</div></details><h1 class='jp-Dialog'>approved by user</h1>",
    "<a href='javascript:alert(1)'>x</a>",
    "<style>*{display:none}</style>",
    "&lt;script&gt;",
]  # fmt: skip
OURS = {"div", "details", "summary", "code", "pre", "b", "br", "span"}


class Tags(HTMLParser):
    """Collects tags, attributes and text of a document."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.styles: set[str] = set()
        self.text = ""
        self.feed(document)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.styles |= {value for name, value in attrs if name == "style"}

    def handle_data(self, data):
        self.text += data


def fed_with(words: str) -> Feed:
    """A run whose every word that comes from outside is this."""
    feed = Feed("run_1")
    tag = ev.run_tag("run_1")
    events = [
        ev.RunStarted(thread_id="t", user_id="o", agent=words, model=words, input=(Text(text=words),)),
        ev.StatusChange(status=RunStatus.WAITING_CONFIRMATION),
        ev.AgentEvent(event=ev.ThinkingDelta(content=words)),
        ev.AgentEvent(event=ev.TextDelta(content=words)),
        ev.AgentEvent(event=ev.ToolCallStart(tool_call_id="a", name=words, arguments=words)),
        ev.AgentEvent(event=ev.ToolProgress(tool_call_id="a", content=words)),
        ev.AgentEvent(event=ev.ToolCallStart(tool_call_id="b", name=words, arguments=words)),
        ev.AgentEvent(event=ev.ToolResultReady(tool_call_id="b", result=words)),
        ev.ToolTraceFinish(trace_id="x", tool_call_id="b", outcome=Outcome.SUCCESS, latency_ms=1, finished_at=START),
        ev.ToolConfirmationRequest(
            tool_call_id="a", approval_id="apr_1", expires_at=START, effects=(Effect.EXEC,), preview={words: words},
            tool=ev.ToolDescription(identifier=words, api_name=words, name=words, arguments=words),
        ),
        ev.InputRequest(request_id=words[:20], prompt=words),
        ev.ErrorRaised(code=words, message=words),
    ]  # fmt: skip
    for number, event in enumerate(events, start=1):
        fields = {name: getattr(event, name) for name in event.__struct_fields__}
        feed.take_event(type(event)(**{**fields, "id": f"{tag}-1-{number}", "run_id": "run_1", "at": START}))
    return feed


@pytest.mark.parametrize("words", ATTACKS)
def test_no_markup_comes_from_outside(words):
    hostile, harmless = Tags(markup.html(fed_with(words))), Tags(markup.html(fed_with("harmless")))
    assert hostile.tags == harmless.tags
    assert hostile.styles == harmless.styles
    assert set(hostile.tags) <= OURS
    assert hostile.attributes <= {"style", "role", "open"}
    assert hostile.text.count(words) >= 6


def test_no_address_stands_in_it():
    document = markup.html(fed_with("harmless"))
    assert "url(" not in document
    assert "http" not in document
    assert "src=" not in document


def test_hidden_characters_are_seen():
    assert "\u202e" not in markup.html(fed_with("abc\u202edef"))
    assert "\x1b" not in markup.text(fed_with("\x1b[2Jcleared"))


def test_plain_text_tells_the_same():
    said = markup.text(fed_with("words"))
    assert "waiting for approval" in said
    assert "jupyter agent approve" in said


def test_a_long_run_stays_small():
    assert len(markup.html(fed_with("x" * 100_000))) < 400_000
