"""Tools by name, and those that live in a client."""

from typing import Any

import pytest

from jupyter_agent.exceptions import InvalidArguments, InvalidRequest, UnknownTool
from jupyter_agent.records import Effect, ToolSpec
from jupyter_agent.tools import Toolbox, first_toolbox, tool, validate
from jupyter_agent.tools.registry import client_tool

OBJECT: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def test_the_first_tools_and_what_they_do_to_the_world() -> None:
    effects = {spec.name: set(spec.effects) for spec in first_toolbox().specs()}
    assert effects == {
        "list_files": {Effect.READ},
        "read_file": {Effect.READ},
        "search_files": {Effect.READ},
        "create_file": {Effect.WRITE},
        "run_cell": {Effect.EXEC},
        "ask_user": set(),
    }
    assert all(spec.description for spec in first_toolbox().specs())
    for found in first_toolbox():
        assert (found.preview is not None) == bool(set(found.spec.effects) - {Effect.READ})


def test_unknown_tools_name_the_closest() -> None:
    box = first_toolbox()
    with pytest.raises(UnknownTool, match=r"no tool 'readfile'. Close to it: read_file"):
        box.get("readfile")
    with pytest.raises(UnknownTool, match="The tools are: list_files, read_file"):
        box.get("zzzzzz")
    with pytest.raises(UnknownTool, match="has no tools"):
        Toolbox().get("x")
    with pytest.raises(UnknownTool) as caught:
        box.get("x" * 10**6)
    assert len(caught.value.message) < 300


def test_choosing() -> None:
    box = first_toolbox()
    assert [spec.name for spec in box.specs(["ask_user", "read_file", "ask_user"])] == ["ask_user", "read_file"]
    assert len(box.specs()) == len(box) == 6
    assert "read_file" in box
    with pytest.raises(UnknownTool):
        box.specs(["read_files"])


def test_two_of_one_name() -> None:
    @tool()
    def read_file() -> None: ...

    with pytest.raises(ValueError, match="Two tools are called 'read_file'"):
        Toolbox([*first_toolbox(), read_file])


async def test_client_tools_are_called_over_the_socket(call) -> None:
    box = first_toolbox().with_client_tools(
        [ToolSpec(name="frame_head", description="Head.", parameters=OBJECT, timeout_s=7, effects=(Effect.READ,))]
    )
    found = box.get("frame_head")
    assert found.spec.client
    assert box.names[-1] == "frame_head"
    answer = await found.call(call, validate(found.spec, '{"a": 1, "b": "é"}'))
    assert answer.content == "from the client"
    assert call.environment.client_calls == [("frame_head", '{"a":1,"b":"é"}', 7)]
    with pytest.raises(InvalidArguments, match="a is missing"):
        validate(found.spec, "{}")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "read_file"}, "exists already"),
        ({"name": "two words"}, "not 1 to 64 letters"),
        ({"name": ""}, "not 1 to 64 letters"),
        ({"name": "x" * 65}, "not 1 to 64 letters"),
        ({"name": "a\n"}, "not 1 to 64 letters"),
        ({"timeout_s": 0.0}, "time-out"),
        ({"timeout_s": float("nan")}, "time-out"),
        ({"timeout_s": 1e9}, "time-out"),
        ({"output_cap": 0}, "output cap"),
        ({"output_cap": 10**9}, "output cap"),
        ({"parameters": {}}, "parameters"),
        ({"parameters": {"type": "array"}}, "parameters"),
        ({"parameters": {"type": "object", "properties": []}}, "parameters"),
    ],
)
def test_wrong_client_tools_are_refused(change: dict[str, Any], said: str) -> None:
    fields: dict[str, Any] = {"name": "ok", "description": "", "parameters": OBJECT} | change
    with pytest.raises(InvalidRequest, match=said):
        first_toolbox().with_client_tools([ToolSpec(**fields)])


def test_client_tools_are_counted() -> None:
    specs = [ToolSpec(name=f"t{n}", description="", parameters=OBJECT) for n in range(129)]
    with pytest.raises(InvalidRequest, match="at most 128"):
        first_toolbox().with_client_tools(specs)
    with pytest.raises(InvalidRequest, match="exists already"):
        Toolbox().with_client_tools([specs[0], specs[0]])
    assert client_tool(specs[0]).spec.client
