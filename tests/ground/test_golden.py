"""Golden frames: what was once said over the wire is read, and said again, to the byte.

`tests/golden/frames.json` holds frames as texts, at least one of each type and kind. The lab extension's tests read the
same file. A change here changes the protocol: a new field gets a new frame beside the old ones, which still hold.
"""

import json
from pathlib import Path
from typing import get_args

import jsonschema
import msgspec
import pytest

from jupyter_agent import events
from jupyter_agent.protocol import commands, control, generate

FRAMES = json.loads((Path(__file__).parents[1] / "golden" / "frames.json").read_text(encoding="utf-8"))
SCHEMA = json.loads(generate.schema_text())


@pytest.mark.parametrize("frame", FRAMES["events"])
def test_an_event_is_encoded_to_the_byte(frame):
    event = events.decode_line(frame)
    assert not isinstance(event, events.Unknown)
    assert events.encode_line(event).decode() == frame
    assert events.is_intact(frame.encode())
    assert str(events.line_cursor(frame.encode())) == event.id


@pytest.mark.parametrize("frame", FRAMES["control"])
def test_a_control_frame_is_encoded_to_the_byte(frame):
    assert msgspec.json.encode(msgspec.json.decode(frame, type=control.AnyControl)).decode() == frame


@pytest.mark.parametrize("frame", FRAMES["commands"])
def test_a_command_is_encoded_to_the_byte(frame):
    assert msgspec.json.encode(commands.parse_command(frame)).decode() == frame


@pytest.mark.parametrize(
    ("frame", "union"),
    [
        (frame, union)
        for name, union in zip(FRAMES, ("AnyEvent", "AnyControl", "AnyCommand"), strict=True)
        for frame in FRAMES[name]
    ],
)
def test_the_json_schema_accepts_it(frame, union):
    jsonschema.Draft202012Validator(SCHEMA | {"anyOf": [{"$ref": f"#/$defs/{union}"}]}).validate(json.loads(frame))


@pytest.mark.parametrize(
    ("name", "union", "tag"),
    [
        ("events", events.AnyEvent, lambda frame: frame["type"]),
        ("events", events.AnyKind, lambda frame: frame.get("event", {}).get("kind")),
        ("control", control.AnyControl, lambda frame: frame["type"]),
        ("commands", commands.AnyCommand, lambda frame: frame["type"]),
    ],
    ids=["events", "kinds", "control", "commands"],
)
def test_every_type_has_its_golden_frame(name, union, tag):
    shown = {tag(json.loads(frame)) for frame in FRAMES[name]}
    assert {cls.__struct_config__.tag for cls in get_args(union)} == shown - {None}


def test_the_json_schema_refuses_frames_without_their_fields():
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for frame in (json.loads(text) for texts in FRAMES.values() for text in texts):
        assert not validator.is_valid({**frame, "type": "of_tomorrow"})
        if "crc" in frame:
            assert not validator.is_valid({name: value for name, value in frame.items() if name != "id"})
