"""The script of the `scripted` model: turns as plain data, checked before the first is played.

A script is YAML or JSON text, or the same as Python objects: a list of turns, or a mapping with `turns` and defaults.
A turn is a text, or a mapping of the fields of `ScriptedTurn`. docs/scripted-model.md shows them all.
"""

import re
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import UNSET, Meta, Struct, UnsetType

from ..exceptions import InvalidRequest, ModelError
from ..records import Usage

JSON_MAX = 4 * 1024 * 1024
YAML_MAX = 256 * 1024
"""Characters of a script given as text. YAML is read a hundred times more slowly than JSON, and nothing
else is served meanwhile."""

_YAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Seconds = Annotated[float, Meta(ge=0, le=3600)]
Count = Annotated[int, Meta(ge=0)]


class ScriptedCall(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tool call. `arguments` is an object, or the text to send as it is, valid JSON or not."""

    name: str
    arguments: dict[str, Any] | str = {}
    provider_id: str | None = None


class ScriptedFailure(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ModelError to raise. `code` is one of FAILURES; `at` is the place in the turn: before it, or after a part.

    `times` counts the attempts that fail before the turn plays to its end, None: all of them.
    """

    code: str
    at: Literal["start", "thinking", "text", "calls"] = "start"
    message: str | None = None
    retry_after_s: Seconds | None = None
    times: Annotated[int, Meta(ge=1)] | None = None


class ScriptedUsage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tokens to report, as in records.Usage; `cost` is in US dollars."""

    input_tokens: Count = 0
    output_tokens: Count = 0
    cache_read_tokens: Count = 0
    cache_write_tokens: Count = 0
    reasoning_tokens: Count = 0
    cost: Annotated[float, Meta(ge=0)] | None = None

    def record(self) -> Usage:
        return Usage(requests=1, **msgspec.structs.asdict(self))


class ScriptedTurn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One answer: after `wait_s` seconds the thinking, the text and the calls, in this order.

    Pieces have `chunk` characters (0: a word) with `delay_s` seconds before each; `duration_s` sets the delay so that
    the whole turn takes this long. Usage is estimated if it is not given, and unmeasured if it is null.
    """

    thinking: str = ""
    signature: str | None = None
    text: str = ""
    calls: tuple[ScriptedCall, ...] = ()
    wait_s: Seconds = 0.0
    chunk: Count | None = None
    delay_s: Seconds | None = None
    duration_s: Seconds | None = None
    fail: ScriptedFailure | None = None
    usage: ScriptedUsage | UnsetType | None = UNSET
    stop_reason: Literal["stop", "tool_calls", "length", "content_filter"] | None = None


class Script(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The turns, and the pace of those that name none."""

    turns: Annotated[tuple[ScriptedTurn, ...], Meta(min_length=1, max_length=10_000)]
    chunk: Count = 0
    delay_s: Seconds = 0.0
    context_max: Annotated[int, Meta(ge=1)] | None = None
    sees_images: bool = True


def failures() -> dict[str, type[ModelError]]:
    """Returns the model errors by their code: what a turn can fail with."""
    kinds: list[type[ModelError]] = [ModelError, *ModelError.__subclasses__()]
    return {kind.code: kind for kind in kinds if kind.__module__ == ModelError.__module__}


def parse_script(source: Any) -> Script:
    """Returns the checked script. Raises InvalidRequest that names the turn, counted from 0, and the field."""
    if isinstance(source, Script):
        return source
    data = _parse_text(source) if isinstance(source, str | bytes) else source
    if isinstance(data, list | tuple):
        data = {"turns": data}
    if not isinstance(data, dict):
        raise _fault(
            "" if data is None else f"it is {type(data).__name__}", "Give a list of turns, or a mapping with `turns`."
        )
    if isinstance(turns := data.get("turns"), list | tuple):
        data = {**data, "turns": [{"text": turn} if isinstance(turn, str) else turn for turn in turns]}
    try:
        script = msgspec.convert(data, Script, strict=True)
    except msgspec.ValidationError as fault:
        raise _translate(str(fault)) from None
    for number, turn in enumerate(script.turns):
        _check(turn, number)
    return script


def _check(turn: ScriptedTurn, number: int) -> None:
    if turn.fail is not None and turn.fail.code not in failures():
        raise _fault(
            f"turn {number}, field `fail.code`: there is no model error {turn.fail.code!r}",
            f"The codes are {', '.join(sorted(failures()))}.",
        )
    if turn.delay_s is not None and turn.duration_s is not None:
        raise _fault(f"turn {number} has both `delay_s` and `duration_s`", "Give one of them.")
    for place, call in enumerate(turn.calls):
        try:
            msgspec.json.encode(call.arguments)
        except (TypeError, ValueError) as fault:
            raise _fault(
                f"turn {number}, field `calls[{place}].arguments`: {fault}", "Arguments are plain JSON values."
            ) from None


def _parse_text(source: str | bytes) -> Any:
    """Returns the YAML or JSON text as plain objects; aliases are refused: with them a short text can be huge."""
    if len(source) > JSON_MAX:
        raise _fault(f"it has {len(source)} characters", f"The limit is {JSON_MAX}.")
    try:
        return msgspec.json.decode(source)
    except (msgspec.DecodeError, UnicodeError):
        pass
    except RecursionError:
        raise _fault("it is nested too deeply", "A script needs few levels.") from None
    if len(source) > YAML_MAX:
        raise _fault(f"it is not JSON and has {len(source)} characters", f"The limit for YAML is {YAML_MAX}.")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(source, Loader=_YAML_LOADER)):
            raise _fault("it uses a YAML alias (`*name`)", "Write the value out.")
        return yaml.load(source, Loader=_YAML_LOADER)  # noqa: S506 - both loaders are the safe ones
    except (yaml.YAMLError, UnicodeError, ValueError) as fault:
        raise _fault(f"it is neither YAML nor JSON: {fault}", "Check its indentation and quotes.") from None
    except RecursionError:
        raise _fault("it is nested too deeply", "A script needs few levels.") from None


def _translate(fault: str) -> InvalidRequest:
    """Returns msgspec's sentence, `Expected … - at `$.turns[1].calls[0].name``, with the turn and field named."""
    what, _, path = fault.partition(" - at `$")
    found = re.match(r"\.turns\[(\d+)\]\.?(.*?)`?$", path)
    place = f"turn {found[1]}" + (f", field `{found[2]}`" if found[2] else "") if found else path.strip(".`")
    return _fault(f"{place}: {what}" if place else what, "docs/scripted-model.md shows the fields.")


def _fault(what: str, advice: str) -> InvalidRequest:
    what = what or "it is missing"
    return InvalidRequest(
        f"The script of the scripted model cannot be played: {what}. {advice}", details={"fields": {"script": what}}
    )
