"""The words over a host of our own making: what starts when, what comes back, what is refused."""

import asyncio
from collections.abc import Mapping
from typing import Any, Literal

import pytest

from jupyter_agent.exceptions import Conflict, InvalidRequest, ModelUnavailable
from jupyter_agent.script import MAX_ITEMS, AgentCall, Words, schema_of


class Spent:
    total = None
    cost = 0.0

    def spent(self) -> int:
        return 0

    def remaining(self) -> float:
        return float("inf")


class Loud:
    """Answers in capital letters; "bad" fails."""

    args: Mapping[str, Any] = {"path": "a.py"}
    budget = Spent()

    def __init__(self) -> None:
        self.calls: list[AgentCall] = []
        self.said: list[str] = []
        self.working = self.most = 0

    async def agent(self, call: AgentCall) -> Any:
        self.calls.append(call)
        self.working += 1
        self.most = max(self.most, self.working)
        await asyncio.sleep(0.002)
        self.working -= 1
        if call.prompt == "bad":
            raise ModelUnavailable("It is out.")
        return call.prompt.upper()

    def phase(self, title: str) -> None:
        self.said.append(f"# {title}")

    def log(self, message: str) -> None:
        self.said.append(message)


async def test_a_call_starts_when_it_is_awaited_and_once():
    host = Loud()
    words = Words(host)
    call = words.agent("hello", label="greet")
    assert repr(call) == "<call 'greet', not started: await it>"
    await asyncio.sleep(0)
    assert not host.calls
    assert await call == "HELLO"
    with pytest.raises(Conflict, match="'greet' was awaited before"):
        await call
    assert len(host.calls) == 1


async def test_parallel_keeps_the_order_and_a_failed_one_is_none():
    host = Loud()
    words = Words(host)
    assert await words.parallel([words.agent(p) for p in ("a", "bad", "c")]) == ["A", None, "C"]
    assert host.said == ["parallel: item 1 failed: ModelUnavailable: It is out."]
    assert await words.parallel([]) == []


async def test_parallel_raises_the_first_and_starts_no_more():
    host = Loud()
    words = Words(host)
    with pytest.raises(ModelUnavailable):
        await words.parallel([words.agent(p) for p in ("bad", *"abcdef")], limit=2, on_error="raise")
    assert len(host.calls) < 5


async def test_a_limit_holds():
    host = Loud()
    words = Words(host)
    await words.parallel([words.agent(str(n)) for n in range(12)], limit=3)
    assert host.most == 3


async def test_the_stages_of_a_pipeline_do_not_wait_for_each_other():
    words, order = Words(Loud()), []

    async def first(previous: str, item: str, index: int) -> str:
        await asyncio.sleep(0.05 if index == 0 else 0)
        order.append(f"first {item}")
        return f"{previous}1"

    def second(previous: str, item: str, index: int) -> Any:
        order.append(f"second {item}")
        return words.agent(previous)

    assert await words.pipeline(["a", "b"], first, second, lambda p, item, index: (p, item, index)) == [
        ("A1", "a", 0), ("B1", "b", 1),
    ]  # fmt: skip
    assert order == ["first b", "second b", "first a", "second a"]


async def test_a_failed_item_skips_its_later_stages():
    words, seen = Words(Loud()), []

    def last(previous: Any, item: str, index: int) -> str:
        seen.append(item)
        return previous

    assert await words.pipeline(["a", "bad"], lambda p, *_: words.agent(p), last) == ["A", None]
    assert seen == ["a"]


async def test_too_many_are_refused_before_anything_starts():
    host = Loud()
    words = Words(host)
    with pytest.raises(InvalidRequest, match="4,097 items are more than the 4,096"):
        await words.parallel([words.agent("x") for _ in range(MAX_ITEMS + 1)])
    with pytest.raises(InvalidRequest, match="4,096"):
        await words.pipeline(range(MAX_ITEMS + 1), lambda *_: words.agent("x"))
    with pytest.raises(InvalidRequest, match="limit must be at least 1"):
        await words.parallel([words.agent("x")], limit=0)
    with pytest.raises(InvalidRequest, match="takes calls like agent"):
        await words.parallel(["x"])
    with pytest.raises(InvalidRequest, match="takes functions behind the items; stage 1 is <call 'x', not started"):
        await words.pipeline([1], lambda *_: words.agent("a"), words.agent("x"))  # type: ignore[arg-type]
    assert not host.calls


async def test_calls_belong_to_the_phase_that_was_said():
    host = Loud()
    words = Words(host)
    words.phase("Read")
    await words.agent("a")
    await words.agent("b", phase="Other")
    assert [call.phase for call in host.calls] == ["Read", "Other"]
    assert host.said == ["# Read"]


def test_arguments_are_read_only_and_prompts_are_text():
    words = Words(Loud())
    with pytest.raises(TypeError):
        words.args["path"] = "b"  # type: ignore[index]
    for wrong in ({"prompt": " "}, {"prompt": "x", "tools": "read_file"}, {"prompt": "x", "timeout": 0},
                  {"prompt": "x", "label": "l" * 1_001}, {"prompt": "x", "phase": "p" * 1_001}):  # fmt: skip
        with pytest.raises(InvalidRequest):
            words.agent(**wrong)


def test_schemas_said_shortly():
    assert schema_of({"score": int, "notes": [str], "kind": Literal["a", "b"], "at": {"x": "number"}}) == {
        "type": "object",
        "properties": {
            "score": {"type": "integer"},
            "notes": {"type": "array", "items": {"type": "string"}},
            "kind": {"enum": ["a", "b"]},
            "at": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"],
                   "additionalProperties": False},
        },
        "required": ["score", "notes", "kind", "at"],
        "additionalProperties": False,
    }  # fmt: skip
    whole = {"type": "object", "properties": {"a": {"type": "string"}}}
    assert schema_of(whole) == whole
    assert schema_of({"type": "string", "minLength": 2}) == {"type": "string", "minLength": 2}
    assert schema_of({"type": str, "why": str})["properties"].keys() == {"type", "why"}
    assert schema_of(None) is None
    for wrong in ({"a": "strng"}, [], {"a": object()}):
        with pytest.raises(InvalidRequest):
            schema_of(wrong)


async def test_people_and_other_workflows_are_calls_of_their_own_kind():
    host = Loud()
    words = Words(host)
    words.phase("Ask")
    assert await words.ask("Which?", {"colour": str}) == "WHICH?"
    asked = host.calls[-1]
    assert (asked.kind, asked.phase, asked.schema) == ("ask", "Ask", schema_of({"colour": str}))
    assert await words.workflow("other", name="x", path="y") == "OTHER"
    assert (host.calls[-1].kind, host.calls[-1].given) == ("workflow", {"name": "x", "path": "y"})
    assert words.namespace().keys() >= {"ask", "gate", "workflow"}
    for wrong in (
        lambda: words.ask(" "), lambda: words.ask("x", int), lambda: words.ask("x", [str]), lambda: words.gate(""),
        lambda: words.gate("x", "y" * 40_000), lambda: words.gate("x", 3), lambda: words.workflow(""),
    ):  # fmt: skip
        with pytest.raises(InvalidRequest):
            wrong()
    assert len(host.calls) == 2


@pytest.mark.parametrize(("approved", "said"), [(True, []), (False, ["Gate 'Merge?' was rejected: No."])])
async def test_a_gate_is_true_or_false_and_a_no_is_told(approved, said):
    class Decided(Loud):
        async def agent(self, call: AgentCall) -> Any:
            self.calls.append(call)
            return {"approved": approved, "reason": "No."}

    host = Decided()
    assert await Words(host).gate("Merge?", "All of it.") is approved
    assert host.said == said
    assert (host.calls[0].kind, host.calls[0].given) == ("gate", {"detail": "All of it."})
