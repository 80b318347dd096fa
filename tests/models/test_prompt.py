"""A prompt cut into regions: all of it, in order, and the same fingerprint for the same bytes only."""

from hypothesis import given
from hypothesis import strategies as st

from jupyter_agent.models.contract import ModelRequest
from jupyter_agent.models.prompt import BYTES_PER_TOKEN, PICTURE_TOKENS, cut, estimate_tokens, prompt_bytes, segments_of
from jupyter_agent.records import Effect, Image, Message, Text, ToolCall, ToolResult, ToolSpec

PICTURE = Image(blob="a" * 64, mime="image/png")
TOOL = ToolSpec(name="f", description="Does it.", parameters={"type": "object"})


def said(role, *parts, message_id=None):
    return Message(role=role, parts=parts, message_id=message_id)


def test_every_region_is_named_and_in_its_place():
    call = ToolCall(tool_call_id="c", name="f", arguments="{}")
    result = ToolResult(tool_call_id="c", name="f", content="done", images=(PICTURE,))
    messages = (said("user", Text(text="look"), PICTURE), said("assistant", call), said("tool", result))
    segments = segments_of(ModelRequest(messages=messages, tools=(TOOL,), instructions="Be good."))
    assert [(segment.region, segment.label) for segment in segments] == [
        ("system", "instructions"),
        ("tool", "f"),
        ("message", "user"),
        ("attachment", "image/png"),
        ("message", "assistant"),
        ("message", "tool"),
        ("attachment", "image/png"),
    ]
    assert [segment.tokens for segment in segments if segment.region == "attachment"] == [PICTURE_TOKENS] * 2
    assert len({segment.fingerprint for segment in segments}) == 6, "The picture is the same one twice."
    assert segments_of(ModelRequest(messages=messages), has_summary=True)[0].label == "summary"
    turned = segments_of(ModelRequest(messages=messages, tools=(TOOL,), instructions="Be good."), tools_first=True)
    assert turned == (segments[1], segments[0], *segments[2:])


def test_what_is_not_sent_has_no_fingerprint():
    one, other = (
        ModelRequest(
            messages=(said("user", Text(text="x"), message_id=name),),
            tools=(ToolSpec(name="f", description="d", parameters={}, effects=effects),),
            turn=len(name),
            thread_id=name,
        )
        for name, effects in (("a", (Effect.READ,)), ("bc", (Effect.EXEC,)))
    )
    assert segments_of(one) == segments_of(other)


TEXTS = st.lists(st.text(max_size=200), min_size=1, max_size=6)


@given(texts=TEXTS, instructions=st.text(max_size=50), count=st.integers(0, 6))
def test_the_regions_are_the_whole_prompt_in_whole_tokens(texts, instructions, count):
    messages = tuple(said("user", Text(text=text.encode("utf-8", "replace").decode())) for text in texts)
    request = ModelRequest(messages=messages, instructions=instructions.encode("utf-8", "replace").decode())
    regions = cut(request)
    assert b"".join(region.data for region in regions) == prompt_bytes(request)
    assert all(len(region.data) == region.segment.tokens * BYTES_PER_TOKEN for region in regions)
    assert sum(region.segment.tokens for region in regions) == estimate_tokens(prompt_bytes(request))
    shorter = ModelRequest(messages=messages[:count], instructions=request.instructions)
    assert segments_of(request)[: len(segments_of(shorter))] == segments_of(shorter)
