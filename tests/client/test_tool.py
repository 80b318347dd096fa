"""Functions as tools: what the model is told, what is validated, what comes back."""

from typing import Literal

import pandas as pd
import pytest

from jupyter_agent.client.tool import Toolbox, describe, result_text, tool
from jupyter_agent.exceptions import InvalidArguments, InvalidRequest
from jupyter_agent.records import Effect


def weather(city: str, days: int = 3, unit: Literal["c", "f"] = "c", tags: list[str] | None = None) -> str:
    """Tells the weather.

    Args:
        city: the town, in English
        days (int): how far to look ahead
    """
    return f"{city} {days} {unit} {tags}"


def test_signature_and_docstring_say_what_it_is():
    spec = describe(weather).spec
    assert spec.name == "weather"
    assert spec.description.startswith("Tells the weather.")
    assert spec.client is True
    assert spec.effects == (Effect.READ,)
    assert spec.parameters["required"] == ["city"]
    assert spec.parameters["additionalProperties"] is False
    assert spec.parameters["properties"]["city"] == {"type": "string", "description": "the town, in English"}
    assert spec.parameters["properties"]["days"]["default"] == 3
    assert spec.parameters["properties"]["days"]["description"] == "how far to look ahead"
    assert spec.parameters["properties"]["unit"]["enum"] == ["c", "f"]


def test_options_are_told():
    spec = describe(weather, name="sky", effects=["network", "write"], idempotent=True, timeout_s=5).spec
    assert (spec.name, spec.idempotent, spec.timeout_s) == ("sky", True, 5)
    assert spec.effects == (Effect.NETWORK, Effect.WRITE)


def test_a_tool_is_still_the_function():
    assert tool(weather)("Oslo") == "Oslo 3 c None"
    assert tool(name="other")(weather)("Oslo", days=1) == "Oslo 1 c None"


def test_arguments_are_validated_and_defaults_are_the_functions():
    made = describe(weather)
    assert made.bind('{"city": "Oslo"}') == {"city": "Oslo"}
    assert made.bind('{"city": "Oslo", "tags": ["a"]}') == {"city": "Oslo", "tags": ["a"]}
    misfits = ['{"city": 1}', '{"city": "x", "unit": "k"}', '{"city": "x", "more": 1}', "{}", "[1]", "{", "", "\ud800"]
    for wrong in misfits:
        with pytest.raises(InvalidArguments, match="arguments of weather do not fit"):
            made.bind(wrong)


def takes_rest(*args: int) -> None: ...


def takes_frame(frame: pd.DataFrame) -> None: ...


@pytest.mark.parametrize(
    ("function", "options", "said"),
    [
        (takes_rest, {}, "gives arguments by name"),
        (takes_frame, {}, "DataFrame.*look live objects up by their name"),
        (weather, {"name": "run_cell"}, "cannot name a tool"),
        (weather, {"name": "a b"}, "cannot name a tool"),
        (weather, {"effects": ["explode"]}, "effects are read, write"),
        (lambda: None, {}, "'<lambda>' cannot name a tool"),
    ],
)
def test_a_function_that_no_model_could_call_is_refused(function, options, said):
    with pytest.raises(InvalidRequest, match=said):
        describe(function, **options)


def test_what_a_model_reads_of_a_result():
    assert result_text("as it is") == "as it is"
    assert result_text({"a": [1, None]}) == '{"a":[1,null]}'
    assert result_text(None) == "null"
    assert result_text(pd.Series([1], name="n")).startswith("0    1")
    assert result_text("nul \0 and \ud800") == "nul \ufffd and \ufffd"
    long = result_text("x" * 300_000)
    assert len(long) < 201_000
    assert "300,000 characters" in long


def test_a_toolbox_picks_what_a_run_may_use():
    box = Toolbox()
    mine = describe(weather)
    box.add(mine)
    assert box.pick(None) == (None, (mine,))
    assert box.pick("read_file, weather") == (("read_file",), (mine,))
    assert box.pick(["read_file"]) == (("read_file",), ())
    names, own = box.pick([takes_nothing])
    assert (names, [item.spec.name for item in own]) == ((), ["takes_nothing"])


def takes_nothing() -> int:
    """Gives one."""
    return 1
