"""From signatures to schemas, and from a model's text to arguments that a function can take."""

import datetime
import enum
import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from jupyter_agent.exceptions import InvalidArguments
from jupyter_agent.records import Effect, ToolSpec
from jupyter_agent.tools import first_toolbox, tool, validate
from jupyter_agent.tools.contract import ToolAnswer, ToolContext
from jupyter_agent.tools.schema import check_schema, schema_problems, signature_of


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Box:
    width: int
    label: str = ""


def plot(
    context: ToolContext,
    column: str,
    kind: Literal["bar", "line"] = "bar",
    bins: Annotated[int, Meta(ge=1, le=100, description="How many.")] = 10,
    colours: list[Colour] = [Colour.RED],  # noqa: B006
    box: Box | None = None,
    since: datetime.date | None = None,
    anything=None,
) -> str:
    """Plots a column.

    The picture goes to the notebook.

    Args:
        column (str): Which column,
            by its name.
        kind: The kind of chart.
        colours: Fill colours.

    Returns:
        Nothing of interest.
    """
    return f"{column} {kind} {bins} {colours} {box} {since} {anything} {context.tool_call_id}"


def test_schema_of_a_function() -> None:
    signature = signature_of(plot)
    properties = signature.parameters["properties"]
    assert signature.name == "plot"
    assert signature.description == "Plots a column.\n\nThe picture goes to the notebook."
    assert signature.parameters["required"] == ["column"]
    assert signature.parameters["additionalProperties"] is False
    assert properties["column"] == {"type": "string", "description": "Which column, by its name."}
    assert properties["kind"]["enum"] == ["bar", "line"]
    assert properties["kind"]["description"] == "The kind of chart."
    assert properties["bins"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 100,
        "description": "How many.",
        "default": 10,
    }
    assert properties["colours"]["description"] == "Fill colours."
    assert "context" not in properties
    assert set(signature.parameters["$defs"]) == {"Colour", "Box"}
    check_schema(signature.parameters)


async def test_arguments_come_in_the_types_of_the_signature(call) -> None:
    made = tool(effects=(Effect.EXEC,), idempotent=True, timeout_s=5, output_cap=10)(plot)
    assert made.spec.effects == (Effect.EXEC,)
    assert (made.spec.idempotent, made.spec.timeout_s, made.spec.output_cap) == (True, 5, 10)
    text = '{"column": "x", "colours": ["blue"], "box": {"width": 2}, "since": "2026-01-02", "bins": 3.0}'
    answer = await made.call(call, validate(made.spec, text))
    assert answer.content == ("x bar 3 [<Colour.BLUE: 'blue'>] Box(width=2, label='') 2026-01-02 None call_0")
    with pytest.raises(InvalidArguments, match="since"):
        await made.call(call, validate(made.spec, '{"column": "x", "since": "yesterday"}'))
    first = await made.call(call, {"column": "x"})
    assert "[<Colour.RED: 'red'>]" in first.content


def numpy_style(a: int, b: str = ""):
    """Does it.

    Parameters
    ----------
    a : int
        The first,
        on two lines.
    b
        The second.

    Returns
    -------
    str
        What came out.
    """


def sphinx_style(a: int, b: str = ""):
    """Does it.

    :param a: The first.
    :param str b: The second.
    :returns: What came out.
    """


def plain_style(a: int, b: str = ""):
    """Does it.

    a: The first.
    - `b`: The second.
    """


def google_style(a: int, b: str = ""):
    """Does it.

    Note: it costs something.

    Args:
        a (int, optional): The first.
        b: The second.
        c: There is no such parameter.

    Raises:
        ValueError: sometimes.
    """


@pytest.mark.parametrize("function", [numpy_style, sphinx_style, plain_style, google_style])
def test_docstrings_describe_parameters(function: Any) -> None:
    signature = signature_of(function)
    properties = signature.parameters["properties"]
    assert signature.description.startswith("Does it.")
    assert "What came out" not in signature.description
    assert properties["a"]["description"].startswith("The first")
    assert properties["b"]["description"] == "The second."
    assert "c" not in properties


def test_functions_that_cannot_be_tools() -> None:
    class Frame:
        """A type that JSON knows nothing of."""

    def takes_frame(frame: Frame) -> None: ...
    def takes_many(*names: str) -> None: ...
    def takes_any(**options: str) -> None: ...
    def by_position(a: int, /) -> None: ...

    for function in (takes_frame, takes_many, takes_any, by_position):
        with pytest.raises(TypeError, match="cannot be a tool"):
            signature_of(function)

    def takes_unknown(a: "NotImported") -> None: ...  # noqa: F821

    with pytest.raises(TypeError, match="NotImported"):
        signature_of(takes_unknown)


async def test_what_functions_give_back(call) -> None:
    @tool()
    def gives(what: str) -> Any:
        """Gives."""
        return {
            "none": None,
            "text": "a\0b",
            "list": [1, {"a": None}],
            "answer": ToolAnswer(content="x", is_error=True),
        }[what]

    assert (await gives.call(call, {"what": "none"})).content == "Done."
    assert (await gives.call(call, {"what": "text"})).content == "a\ufffdb"
    assert json.loads((await gives.call(call, {"what": "list"})).content) == [1, {"a": None}]
    assert (await gives.call(call, {"what": "answer"})).is_error


READ = first_toolbox().get("read_file").spec


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no valid JSON"),
        ("read it", 'They begin with "read it"'),
        ('{"path": "a",}', "no valid JSON"),
        ("[]", "Send one JSON object"),
        ('"{}"', "Send one JSON object"),
        ("null", "Send one JSON object"),
        ("{}", "path is missing"),
        ('{"path": 5}', "path must be a string, not 5"),
        ('{"path": null}', "path must be a string, not null"),
        ('{"path": "a", "max_lines": "many"}', 'max_lines must be an integer, not "many"'),
        ('{"path": "a", "max_lines": true}', "max_lines must be an integer, not true"),
        ('{"path": "a", "max_lines": 0}', "max_lines is 0, which breaks minimum 1"),
        ('{"path": "a", "max_lines": 1e400}', "max_lines must be an integer"),
        ('{"path": "a", "file": "b"}', 'there is no argument "file"'),
        ('{"file": 1, "max_lines": []}', "path is missing"),
        ('{"path": ' + "9" * 5000 + "}", "no valid JSON"),
        ('{"path": ' + "[" * 200 + "]" * 200 + "}", "nested deeper than 100 levels"),
        ("[" * 100_000, "nested too deeply"),
        ('{"path": "' + "x" * 10**6 + '", "y": 1}', 'there is no argument "y"'),
    ],
)
def test_each_fault_is_named(text: str, said: str) -> None:
    with pytest.raises(InvalidArguments) as caught:
        validate(READ, text)
    assert said in caught.value.message
    assert len(caught.value.message) < 600


def test_all_wrong_fields_are_named_at_once() -> None:
    with pytest.raises(InvalidArguments) as caught:
        validate(READ, '{"start_line": "one", "max_lines": -1, "colour": 1}')
    for name in ("path", "start_line", "max_lines", "colour"):
        assert name in caught.value.message
    assert "Its arguments are: path, start_line, max_lines" in caught.value.message
    assert len(caught.value.details["problems"]) == 4
    with pytest.raises(InvalidArguments, match="and 92 more"):
        validate(READ, json.dumps({"path": "a"} | {f"x{n}": n for n in range(100)}))


def test_nested_faults_say_where() -> None:
    signature = signature_of(plot)
    assert schema_problems(signature.parameters, {"column": "x", "colours": ["red", "green"]}) == [
        'colours[1] must be one of "blue", "red", not "green"'
    ]
    assert schema_problems(signature.parameters, {"column": "x", "bins": "a"}) == ['bins must be an integer, not "a"']


def test_arguments_are_cleaned() -> None:
    assert validate(READ, '{"path": "a\\u0000b\\ud800"}') == {"path": "a\ufffdb\ufffd"}


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda v: st.lists(v) | st.dictionaries(st.text(), v),
    )
)
def test_nothing_but_invalid_arguments_is_raised(value: Any) -> None:
    try:
        checked = validate(READ, json.dumps(value))
    except InvalidArguments as error:
        error.message.encode()
    else:
        assert isinstance(checked["path"], str)


# --- schemas of others ----------------------------------------------------------------------------------------


def spec(parameters: dict[str, Any]) -> ToolSpec:
    return ToolSpec(name="theirs", description="", parameters={"type": "object", **parameters}, client=True)


def test_patterns_of_schemas_are_linear_and_others_are_left_alone() -> None:
    evil = spec(
        {
            "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}},
            "patternProperties": {"^(b+)+$": {"type": "integer"}},
        }
    )
    with pytest.raises(InvalidArguments, match="breaks pattern"):
        validate(evil, json.dumps({"a": "a" * 50_000 + "!"}))
    with pytest.raises(InvalidArguments, match="bbb must be an integer"):
        validate(evil, json.dumps({"bbb": "x", "b" * 50_000 + "!": "x"}))
    look_ahead = spec({"properties": {"a": {"type": "string", "pattern": "(?=x)y"}}})
    assert validate(look_ahead, '{"a": "anything"}') == {"a": "anything"}
    closed = spec({"patternProperties": {"^x_": {}}, "additionalProperties": False})
    assert validate(closed, '{"x_1": 1}') == {"x_1": 1}
    with pytest.raises(InvalidArguments, match='no argument "y"'):
        validate(closed, '{"y": 1, "x_1": 1}')
    numbers = spec({"additionalProperties": {"type": "number"}})
    with pytest.raises(InvalidArguments, match="y must be a number"):
        validate(numbers, '{"y": "1"}')


def test_references_are_never_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a schema made the server connect")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    remote = spec({"properties": {"a": {"$ref": "http://127.0.0.1:9/schema.json"}}})
    with pytest.raises(InvalidArguments, match="nowhere in it"):
        validate(remote, '{"a": 1}')
    local = spec({"properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}})
    assert validate(local, '{"a": 1}') == {"a": 1}
    circle = spec({"properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"$ref": "#/$defs/n"}}})
    with pytest.raises(InvalidArguments, match="circle"):
        validate(circle, '{"a": 1}')


@pytest.mark.parametrize(
    "schema", [{}, {"type": "string"}, {"type": "object", "properties": 5}, {"type": "object", "required": "a"}]
)
def test_what_is_no_schema_of_an_object(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Schema|object"):
        check_schema(schema)
