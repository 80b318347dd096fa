"""What a notebook shows of a run: bounded, worth reading, and the words of models and tools are text, whatever they
look like."""

import re
import time
from datetime import timedelta
from html import unescape
from html.parser import HTMLParser

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from jupyter_agent import events as ev
from jupyter_agent.compact import KEPT_BYTES, CompactCall, CompactError, CompactRun, CompactTurn, CompactWait, compact
from jupyter_agent.display import MIME_TYPE, bundle
from jupyter_agent.display.markup import Style, tag
from jupyter_agent.display.page import MOST_HTML
from jupyter_agent.display.text import MOST_TEXT
from jupyter_agent.records import Decision, Effect, Outcome, RunStatus, Text, Usage
from jupyter_agent.transcript import Transcript
from tests.golden.make_transcripts import START
from tests.ground.test_compact import some_runs
from tests.ground.test_transcripts import BY_NAME, GOLDEN

ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"><svg onload=alert(1)>",
    "' onclick='alert(1)",
    "</div></details></pre><h1 class='jp-Dialog'>approved by user</h1>",
    "<a href='javascript:alert(1)'>x</a>",
    "<style>*{display:none}</style>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "![x](https://evil.example/x.png) <https://evil.example>",
    "&lt;script&gt;",
    "<!-- ",
    "<![CDATA[ ",
    "</summary><iframe srcdoc='<script>alert(1)</script>'>",
    "+<b>added</b>\n-<b>removed</b>\n@@ <b>",
]  # fmt: skip
OURS = {"div", "details", "summary", "code", "pre", "b", "span"}
STYLES = {str(style) for style in Style if style}


class Tags(HTMLParser):
    """Collects tags, attributes and text of a document, and sees that every element is closed in its turn."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[tuple[str, str | None]] = set()
        self.others: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(document)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)
        self.attributes |= set(attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def handle_comment(self, data):
        self.others.append(data)

    handle_decl = handle_pi = unknown_decl = handle_comment

    def check(self) -> None:
        """Nothing is in it but our elements and our styles."""
        assert set(self.tags) <= OURS
        assert {name for name, _ in self.attributes} <= {"style", "open"}
        assert {value for name, value in self.attributes if name == "style"} <= STYLES
        assert not self.others


def run_of(words: str, *, waits: bool = True) -> CompactRun:
    """A run whose every word that comes from outside is this."""
    seen = Transcript(run_id="run_1")
    tool = ev.ToolDescription(identifier=words, api_name=words, name=words, arguments=words)
    events = [
        ev.RunStarted(thread_id="t", user_id="o", agent=words, model=words, input=(Text(text=words),)),
        ev.StatusChange(status=RunStatus.WAITING_CONFIRMATION),
        ev.AgentEvent(event=ev.ThinkingDelta(content=words)),
        ev.AgentEvent(event=ev.TextDelta(content=f"{words}\n\n| {words} |\n|---|\n\n```\n{words}\n```\n")),
        ev.AgentEvent(event=ev.ToolCallStart(tool_call_id="a", name=words, arguments=words)),
        ev.AgentEvent(event=ev.ToolProgress(tool_call_id="a", content=words)),
        ev.AgentEvent(
            event=ev.ToolCallStart(
                tool_call_id="b", name=words, arguments=msgspec.json.encode({words: words, "x": [words]}).decode()
            )
        ),
        ev.AgentEvent(event=ev.ToolResultReady(tool_call_id="b", result=words, diff=words, mime={words: "b" * 64})),
        ev.ToolTraceFinish(trace_id="x", tool_call_id="b", outcome=Outcome.SUCCESS, latency_ms=1, finished_at=START),
        ev.AgentEvent(event=ev.ToolCallStart(tool_call_id="c", name=words, arguments=words)),
        ev.ToolTraceFinish(
            trace_id="y", tool_call_id="c", outcome=Outcome.ERROR, latency_ms=1, finished_at=START, error=words
        ),
        ev.ErrorRaised(code=words, message=words),
    ]
    if waits:
        events += [
            ev.ToolConfirmationRequest(
                tool_call_id="a", approval_id="apr_1", expires_at=START, effects=(Effect.EXEC,),
                preview={words: words, "warning": words}, tool=tool,
            ),
            ev.InputRequest(request_id="inp_1", prompt=words),
        ]  # fmt: skip
    for number, event in enumerate(events, start=1):
        seen.apply(msgspec.structs.replace(event, id=f"x-1-{number}", run_id="run_1", at=START))
    return compact(seen)


def html_of(run: CompactRun, **more) -> str:
    return bundle(run, **more)["text/html"]


# --- inert ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ATTACKS)
def test_no_markup_comes_from_outside(words):
    document = html_of(run_of(words), remark=words)
    hostile, harmless = Tags(document), Tags(html_of(run_of("x"), remark="x"))
    hostile.check()
    harmless.check()
    assert hostile.attributes == harmless.attributes or words.startswith("+")
    # It is all there to read, at every place where it was said.
    squeezed = " ".join(hostile.text.split())
    assert squeezed.count(" ".join(words.split())) >= 10


@pytest.mark.parametrize("words", ATTACKS)
def test_what_waited_when_it_was_kept_is_text_too(words):
    waiting = (CompactWait(kind="approval", what=words), CompactWait(kind="input", what=words))
    Tags(html_of(CompactRun(run_id=words, status=RunStatus.RUNNING, waiting=waiting, left_out_turns=1))).check()


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="<>&\"'`/=!-abdivscript \n|+\x00\u202e", max_size=60))
def test_no_words_at_all_become_markup(words):
    Tags(html_of(run_of(words), remark=words)).check()


def test_no_address_and_nothing_that_loads_stands_in_it():
    document = html_of(run_of("harmless"))
    assert not re.search(r"url\(|https?:|//|src=|href=|class=|<script|@import", document)


def test_what_a_tag_is_given_is_text_unless_a_tag_made_it():
    assert tag("b", Style.NONE, "<i>") == "<b>&lt;i&gt;</b>"
    inner = tag("b", Style.NONE, "&")
    assert tag("div", Style.QUIET, inner, "<") == f'<div style="{Style.QUIET}"><b>&amp;</b>&lt;</div>'
    # Whatever is done to it otherwise makes text of it again.
    assert tag("div", Style.NONE, inner + "") == "<div>&lt;b&gt;&amp;amp;&lt;/b&gt;</div>"
    assert tag("div", Style.NONE, inner.upper()).startswith("<div>&lt;B")


def test_nothing_that_was_said_is_set_as_a_formula():
    """Front ends set formulas in any HTML, and those may link. One ends where an element does, and none is in code."""
    said = r"$\href{https://evil.example}{x}$ \(y\) \begin{equation}z\end{equation}"
    shown = tag("div", Style.NONE, said)
    assert not re.search(r"[$\\][^<]", shown)
    assert unescape(re.sub("<.*?>", "", shown)) == said
    assert said in tag("pre", Style.NONE, said)


def test_no_style_holds_what_could_load_or_leave_its_attribute():
    for style in Style:
        assert not re.search(r"[\"<>&]|url|expression|import", style)


def test_hidden_characters_are_seen():
    said = bundle(run_of("abc\u202edef\x1b[2J"))
    for mime in ("text/html", "text/plain"):
        assert not re.search("[\u202e\x1b]", said[mime])
        assert "abc\N{REPLACEMENT CHARACTER}def" in said[mime]


def test_nothing_in_it_can_be_decided():
    said = bundle(run_of("words"))
    assert set(said) == {MIME_TYPE, "text/html", "text/plain"}
    assert not {"approvals", "inputs"} & set(said[MIME_TYPE])
    assert [wait["kind"] for wait in said[MIME_TYPE]["waiting"]] == ["approval", "input"]
    assert not re.search("apr_1|inp_1", str(said))


# --- bounded --------------------------------------------------------------------------------------------------


def check_sizes(said):
    assert len(msgspec.json.encode(said[MIME_TYPE])) <= KEPT_BYTES
    assert len(said["text/html"].encode()) <= MOST_HTML <= 256 * 1024
    assert len(said["text/plain"]) <= MOST_TEXT


@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate],
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(some_runs)
def test_every_part_has_its_bound(run):
    said = bundle(run)
    check_sizes(said)
    Tags(said["text/html"]).check()
    assert msgspec.convert(said[MIME_TYPE], CompactRun).run_id == run.run_id


def test_a_huge_run_is_shown_in_no_time_and_from_its_end():
    call = CompactCall(tool_call_id="c", name="run_cell", arguments='{"code": "1"}', result="<&>" * 3_000)
    turns = tuple(CompactTurn(turn=at, text=f"This is turn {at}.", tool_calls=(call,) * 5) for at in range(2_000))
    run = CompactRun(run_id="run_1", status=RunStatus.COMPLETED, prompt="<" * 1_000_000, turns=turns)
    took = []
    for _ in range(3):
        began = time.perf_counter()
        said = bundle(run)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.2
    check_sizes(said)
    page = Tags(said["text/html"])
    assert len(said["text/html"]) > MOST_HTML // 2
    assert "This is turn 1999." in page.text
    assert "This is turn 1." not in page.text
    assert re.search(r"1,9\d\d earlier turns left out here\.", page.text)
    assert 'ja.open("run_1")' in page.text
    assert "2,000 turns · 10,000 tool calls" in page.text
    assert "This is turn 1999." in said["text/plain"]
    assert "ja.open('run_1')" in said["text/plain"]


def test_of_one_turn_with_very_many_calls_the_last_are_shown():
    calls = tuple(CompactCall(tool_call_id=f"c{at}", name=f"tool_{at}", result="r" * 500) for at in range(10_000))
    run = CompactRun(run_id="run_1", status=RunStatus.RUNNING, turns=(CompactTurn(turn=0, tool_calls=calls),))
    said = bundle(run)
    check_sizes(said)
    assert "tool_9999" in said["text/html"]
    assert "earlier tool calls left out here." in said["text/html"]
    assert "tool_9999" in said["text/plain"]


# --- worth reading --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", GOLDEN, ids=BY_NAME)
def test_runs_of_all_shapes_are_shown(entry):
    run = msgspec.convert(entry["compact"], CompactRun)
    said = bundle(run)
    check_sizes(said)
    page = Tags(said["text/html"])
    page.check()
    for turn in run.turns:
        assert turn.thinking in page.text
        assert all(call.name in page.text for call in turn.tool_calls)
    assert ("Partial: the run was still going when this was saved" in page.text) == (not run.is_final)
    assert ("Partial" in said["text/plain"]) == (not run.is_final)


def test_it_tells_the_story_of_a_run():
    code = msgspec.json.encode({"code": "import os\nprint(1)", "why": "größer"}).decode()
    calls = (
        CompactCall(tool_call_id="a", name="run_cell", arguments=code, result="1\n", latency_ms=1_500.0,
                    outcome=Outcome.SUCCESS, decision=Decision.EDIT, mime={"image/png": "b" * 64}),
        CompactCall(tool_call_id="b", name="write_file", arguments='{"path": "x"}', result="Wrote x.",
                    diff="--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old\n+new\n", outcome=Outcome.SUCCESS),
        CompactCall(tool_call_id="c", name="read_file", result="No.", is_error=True, decision=Decision.REJECT,
                    outcome=Outcome.REJECTED),
    )  # fmt: skip
    run = CompactRun(
        run_id="run_1", status=RunStatus.ERROR, model="demo", prompt="Sum it up", pictures=1,
        turns=(CompactTurn(turn=0, thinking="Hm", text="I see.", tool_calls=calls),),
        usage=Usage(input_tokens=1_000, output_tokens=234, requests=1, cost=0.0123),
        error=CompactError(code="x", message="The model is gone."),
        first_at=START, last_at=START + timedelta(seconds=75),
    )  # fmt: skip
    document = html_of(run)
    text = Tags(document).text
    head = "✗ failed · demo · 1 min 15 s · 1 turn · 3 tool calls · 1,234 tokens, $0.0123 · 2026-03-14 09:26 UTC"
    assert text.startswith(head)
    story = ["Sum it up", "(1 picture)", "Thought", "Hm", "I see.", "✓ run_cell", "1.5 s · approved with changes",
             "code:\nimport os\nprint(1)\nwhy: größer", "1\n", "It also gave image/png.", "✓ write_file",
             "-old\n+new\n", "Wrote x.", "✗ read_file", "rejected", "The model is gone."]  # fmt: skip
    places = [text.index(words) for words in story]
    assert places == sorted(places)
    assert f'<span style="{Style.ADDED}">+new\n</span>' in document
    assert f'<span style="{Style.REMOVED}">-old\n</span>' in document
    assert f'<span style="{Style.QUIET}">+++ b/x\n</span>' in document
    assert document.count("<details") == 4
    assert " open>" not in document
    assert text.count("rejected") == 1
    assert "ja.open" not in document


def test_a_fork_says_where_it_comes_from():
    run = CompactRun(run_id="run_1", status=RunStatus.COMPLETED, forked_from_run_id="run_<b>", forked_from_turn=3)
    assert "Forked from run_<b> before turn 3" in Tags(html_of(run)).text
    assert "Forked from run_<b> before turn 3" in bundle(run, now=START)["text/plain"]


def test_a_run_that_goes_on_says_until_when_it_is_told():
    run = CompactRun(run_id="run_1", status=RunStatus.RUNNING, model="demo", first_at=START, last_at=START)
    said = bundle(run, now=START + timedelta(seconds=200), remark="connection: connecting")
    for mime in ("text/html", "text/plain"):
        assert "running · demo · 3 min 20 s" in re.sub("<.*?>", "", said[mime])
        assert "when this was saved, at 2026-03-14 09:30 UTC." in said[mime]
        assert "connection: connecting" in said[mime]
    assert "connection" not in str(said[MIME_TYPE])
    ended = msgspec.structs.replace(run, status=RunStatus.COMPLETED)
    assert "completed · demo · 0 ms" in Tags(html_of(ended, now=START + timedelta(days=1))).text


def test_what_waits_says_what_exactly_and_where_to_answer():
    said = bundle(run_of("words"))
    assert "words wants to execute code:" in said["text/html"]
    assert "warning" not in said["text/html"]
    for mime in ("text/html", "text/plain"):
        assert "jupyter agent approve" in said[mime]
    # A call that goes on is unfolded, so that its live output is seen.
    assert f'<details style="{Style.CALL}" open>' in said["text/html"]


def test_the_archive_is_named_in_what_is_kept():
    run = msgspec.structs.replace(run_of("x", waits=False), detail="d" * 64)
    assert bundle(run)[MIME_TYPE]["detail"] == "d" * 64


def test_nothing_heavy_is_needed_for_it(tmp_path):
    """The kernel imports it: no template engine, no server."""
    import subprocess
    import sys

    code = "import sys, jupyter_agent.display; print(sorted(set(sys.modules) & {'jinja2', 'sqlalchemy', 'tornado'}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert found.stdout.strip() == "[]"
