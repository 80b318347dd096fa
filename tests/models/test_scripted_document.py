"""docs/scripted-model.md names every field and code that there is, and its examples play."""

import re
from pathlib import Path

import pytest
from msgspec.structs import fields

from jupyter_agent.models.script import (
    Script,
    ScriptedCall,
    ScriptedFailure,
    ScriptedTurn,
    ScriptedUsage,
    failures,
    parse_script,
)

DOCUMENT = (Path(__file__).parents[2] / "docs" / "scripted-model.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("struct", [Script, ScriptedTurn, ScriptedCall, ScriptedFailure, ScriptedUsage])
def test_every_field_is_explained(struct):
    assert [field.name for field in fields(struct) if f"`{field.name}`" not in DOCUMENT] == []


def test_every_code_is_named_on_its_side():
    retried, others = DOCUMENT.split("Codes that are not:")
    retried = retried.partition("Codes that are tried again:")[2]
    for code, kind in failures().items():
        assert f"`{code}`" in (retried if kind.retryable else others)


def test_the_examples_play():
    examples = re.findall(r"^```yaml\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        assert parse_script(example).turns
