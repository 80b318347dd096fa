"""What a widget tells its pages of a run, whatever happens to the client's connection meanwhile."""

import asyncio
import json

import pytest

from jupyter_agent import events as ev
from jupyter_agent.transcript import Transcript
from jupyter_agent.widgets import run_talk, talk
from jupyter_agent.widgets.run_talk import RunTalk
from tests.client.conftest import until


class Heard:
    """The page's end: folds what it is told, as a page does."""

    def __init__(self) -> None:
        self.messages: list[dict] = []
        self.whole: dict = {}
        self.after: list = []

    def take(self, message, _buffers) -> None:
        self.messages.append(message)
        if message["type"] == "run":
            self.whole, self.after = json.loads(message["text"]), []
        elif message["type"] == "frames":
            self.after.extend(ev.decode_line(line) for line in message["text"].splitlines())

    @property
    def text(self) -> str:
        """What the model has said, whole and after."""
        said = "".join(turn["text"] for turn in self.whole.get("turns", ()))
        seen = Transcript(run_id="run_peer")
        for event in self.after:
            seen.apply(event)
        return said + "".join(turn.text for turn in seen.turns)

    @property
    def kinds(self) -> str:
        return " ".join(message["type"] for message in self.messages)


@pytest.fixture
async def tell(open_run):
    """Opens a run and tells a page of it."""
    talks = []

    def told() -> tuple[Heard, RunTalk]:
        heard = Heard()
        talks.append(RunTalk(open_run(), heard.take, may_decide=False))
        talks[-1].open()
        return heard, talks[-1]

    yield told
    for one in talks:
        one.close()


async def test_what_the_server_takes_back_is_taken_back_on_pages_too(peer, tell):
    journal = peer.journal()
    journal.begin()
    journal.say("kept ")
    heard, _ = tell()
    await until(lambda: heard.whole)
    journal.say("lost ")
    await until(lambda: heard.text == "kept lost ")
    journal.crash(lost=1)
    peer.drop_all()
    journal.say("instead")
    journal.end()
    await until(lambda: heard.text == "kept instead")
    assert heard.kinds.count("run") == 2


async def test_a_lost_connection_is_told_and_so_is_its_return(peer, tell):
    peer.journal().begin()
    heard, _ = tell()
    await until(lambda: heard.whole)
    assert heard.messages[-1]["link"] == "connected"
    peer.refuse_with = 503
    peer.drop_all()
    await until(lambda: heard.messages[-1]["link"] in {"waiting", "connecting"})
    peer.refuse_with = None
    await until(lambda: heard.messages[-1]["link"] == "connected")
    peer.journal().say("back")
    await until(lambda: heard.text == "back")
    assert heard.kinds.count("run") == 1, "What the page has is not told again."


async def test_a_gateway_that_refuses_is_told_with_its_reason(peer, tell):
    peer.refuse_with = 403
    heard, _ = tell()
    await until(lambda: heard.messages and heard.messages[-1]["fault"])
    assert "refused the token" in heard.messages[-1]["fault"]
    assert heard.whole == {}


async def test_a_run_that_waits_gives_signs_of_life(peer, tell, monkeypatch):
    for module in (talk, run_talk):
        monkeypatch.setattr(module, "TICK_S", 0.2)
    peer.journal().begin()
    heard, one = tell()
    await until(lambda: heard.kinds.endswith("tick tick tick"))
    assert [message["n"] for message in heard.messages] == list(range(1, len(heard.messages) + 1))
    one.hear({"ask": "unfollow"})
    await asyncio.sleep(0.3)
    count = len(heard.messages)
    await asyncio.sleep(0.6)
    assert len(heard.messages) == count


async def test_it_never_says_more_than_jupyters_server_lets_through(peer, tell):
    journal = peer.journal()
    journal.begin()
    heard, _ = tell()
    await until(lambda: heard.whole)
    for _ in range(60):
        journal.say("x" * 20_000)
    began = asyncio.get_running_loop().time()
    await until(lambda: len(heard.text) == 1_200_000, 30)
    took_s = asyncio.get_running_loop().time() - began
    assert took_s > 1_200_000 / (1024 * 1024)
    assert max(len(message.get("text", "")) for message in heard.messages) < 100_000
    journal.end()
    await until(lambda: any(isinstance(event, ev.SessionComplete) for event in heard.after))


async def test_a_page_that_is_far_behind_is_told_the_whole_at_once_and_no_more_than_it_can_take(peer, tell):
    journal = peer.journal()
    journal.begin()
    for _ in range(300):
        journal.say("x" * 10_000)
    heard, one = tell()
    await until(lambda: heard.whole)
    assert heard.whole["leftOutCharacters"] > 0
    assert len(heard.messages[-1]["text"]) <= 1024 * 1024
    one.hear({"ask": "unfollow"})
    for _ in range(6_000):
        journal.say("y")
    journal.say("!")
    await until(lambda: one._run.text.endswith("!"))
    one.hear({"ask": "follow"})
    await until(lambda: heard.kinds.count("run") == 2)
    assert heard.after == []
