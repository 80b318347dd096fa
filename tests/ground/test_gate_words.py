"""How a gate of a workflow is put to people: as what it asks, not as a tool that wants something."""

import json

from jupyter_agent.display import words
from jupyter_agent.records import Approval
from tests.golden.make_transcripts import START

GIVEN = {"title": "Merge\nit?", "detail": "All of 2."}


def gate(**given: str) -> Approval:
    return Approval(
        approval_id="apr_1", run_id="run_1", tool_call_id="call_1", tool_name="gate", arguments=json.dumps(given),
        effects=(), preview={"tool": "gate", "arguments": given, "hash": "h"}, asked_at=START, expires_at=START,
    )  # fmt: skip


def test_a_gate_is_put_as_what_the_workflow_asks():
    assert words.wants(gate(**GIVEN)) == "a workflow asks: Merge it?"
    assert words.preview_text(gate(**GIVEN)) == "Merge\nit?\nAll of 2."
    assert words.preview_text(gate(title="Merge?")) == "Merge?"
