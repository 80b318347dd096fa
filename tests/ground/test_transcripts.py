"""Golden transcripts: what runs of all shapes fold to, for Python and TypeScript alike.

The lab extension reads the same file. After a change of the fold `python -m tests.golden.make_transcripts` writes
it again, and then the TypeScript fold has to follow.
"""

import json

import pytest

from jupyter_agent import events as ev
from jupyter_agent.compact import CompactRun, compact
from jupyter_agent.records import RunStatus
from jupyter_agent.transcript import Transcript
from tests.golden import make_transcripts

GOLDEN = json.loads(make_transcripts.FILE.read_text(encoding="utf-8"))
BY_NAME = {entry["name"]: entry for entry in GOLDEN}


def test_the_file_is_what_would_be_written():
    assert make_transcripts.FILE.read_text(encoding="utf-8") == make_transcripts.text(), (
        "Run `python -m tests.golden.make_transcripts`, and see that the TypeScript fold still agrees."
    )


@pytest.mark.parametrize("entry", GOLDEN, ids=BY_NAME)
def test_the_frames_of_the_file_fold_to_its_transcript(entry):
    seen = Transcript()
    halfway = {half["after"]: half["compact"] for half in entry["halfway"]}
    for number, frame in enumerate(entry["events"], start=1):
        seen.apply(ev.decode_line(json.dumps(frame)))
        if number in halfway:
            assert make_transcripts.plain(seen) == halfway[number]
    assert make_transcripts.plain(seen) == entry["compact"]


def test_every_event_that_a_transcript_reads_is_in_it():
    shown = {frame["type"] for entry in GOLDEN for frame in entry["events"]}
    kinds = {frame["event"].get("kind") for entry in GOLDEN for frame in entry["events"] if "event" in frame}
    assert {cls.__struct_config__.tag for cls in ev.AnyEvent.__args__} <= shown
    assert {cls.__struct_config__.tag for cls in ev.AnyKind.__args__} <= kinds
    # And what came of them differs from what a run begins with.
    fields = {name for entry in GOLDEN for name in entry["compact"]}
    calls = [
        call for entry in GOLDEN for turn in entry["compact"].get("turns", []) for call in turn.get("toolCalls", [])
    ]
    kept_only = {"waiting", "leftOutTurns", "leftOutCharacters"}
    assert fields == set(CompactRun.__struct_encode_fields__) - kept_only - {"detail"}
    assert {call.get("decision") for call in calls} >= {"approve", "edit", "reject", "expired"}
    assert {entry["compact"]["status"] for entry in GOLDEN} == {*RunStatus}


def test_the_detail_is_the_archives_and_not_the_folds():
    assert compact(Transcript(run_id="run_1"), detail="d" * 64).detail == "d" * 64
