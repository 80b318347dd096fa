"""Two runs side by side, from a server, a folder or other agents' logs; and forked where they part."""

import asyncio
import json

import pytest

import jupyter_agent as ja
from jupyter_agent.client.session import session
from jupyter_agent.exceptions import InvalidRequest, RunNotFound
from jupyter_agent.storage import DATABASE
from tests.live_server import TOKEN, LiveServer

TEXT = "string"
SCHEMA = {
    "turn_a": "Int64", "turn_b": "Int64", "same_input": "boolean", "region": "category", "label": TEXT, "before": TEXT,
    "after": TEXT, "same_answer": "boolean", "text_a": TEXT, "text_b": TEXT, "tool_calls_a": TEXT, "tool_calls_b": TEXT,
    "model_a": "category", "model_b": "category", "input_tokens_a": "Int64", "input_tokens_b": "Int64",
    "output_tokens_a": "Int64", "output_tokens_b": "Int64", "cost_a": "Float64", "cost_b": "Float64",
}  # fmt: skip


def looks(*texts, last="Done."):
    calls = [{"name": "list_files", "arguments": {}}, {"name": "search_files", "arguments": {"query": "x"}}]
    return [*({"text": text, "calls": [call]} for text, call in zip(texts, calls, strict=False)), {"text": last}]


def played(script, text="What is here?", **more):
    run = ja.run(text, model="scripted", script=script, show=False, **more)
    run.result()
    return run


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    live = LiveServer(tmp_path_factory.mktemp("diff"))
    with asyncio.Runner() as runner:
        runner.run(live.start())
        client = ja.connect(live.url, TOKEN)
        yield live
        client.close()
        runner.run(live.stop())


@pytest.fixture(scope="module")
def run(server):
    return played(looks("One. ", "Two. "))


def test_runs_that_were_asked_the_same_differ_in_nothing(run):
    again = played(looks("One. ", "Two. "))
    d = ja.diff(run, again)
    assert (d.turn, d.region, d.before, d.after) == (None, None, None, None)
    # Each run gives its tool calls ids of its own: their fingerprints differ, what they say does not.
    assert d.df["same_input"].tolist() == d.df["same_answer"].tolist() == [True, True, True]
    assert {name: str(dtype) for name, dtype in d.df.dtypes.items()} == SCHEMA
    assert "all turns that both have were asked with the same" in repr(d)
    assert ja.diff(run.id, again.id).df.equals(d.df)


def test_the_first_turn_whose_input_differed_is_where_they_part(run):
    other = played(looks("One. ", "Otherwise <b>. "))
    d = ja.diff(run, other)
    # Turn 1 was asked with the same and answered otherwise: turn 2 is the first with another input.
    assert d.df["same_input"].tolist() == [True, True, False]
    assert d.df["same_answer"].tolist() == [True, False, True]
    assert (d.turn, d.turn_b, d.region, d.label) == (2, 2, "message", "assistant")
    assert d.before.startswith("Two. ")
    assert d.after.startswith("Otherwise <b>. ")
    said = repr(d)
    assert "the input of turn 2 differs in message (assistant)" in said
    assert "before: Two." in said
    assert "turn 1 · input same · answer differs" in said
    html = d._repr_html_()
    assert "Otherwise &lt;b&gt;" in html
    assert "<b>." not in html
    # And from there it is forked.
    fork = run.fork(turn=d.turn, script=["Another end."], show=False)
    assert fork.result() == "Another end."
    assert fork.forked_from == (run.id, 2)
    assert run.forked_from is None


@pytest.mark.parametrize(
    ("more", "region", "label", "before", "after"),
    [
        ({"instructions": "Be brief."}, "system", "instructions", None, "Be brief."),
        ({"settings": {"speed": 2}}, "settings", "speed", None, "2"),
        ({"tools": ["list_files", "read_file"]}, "tool", "search_files", "search_files, ", None),
        ({"text": "What is there?"}, "message", "user", "What is here?", "What is there?"),
    ],
)
def test_what_differed_is_named_with_both_values(run, more, region, label, before, after):
    d = ja.diff(run, played(looks("One. ", "Two. "), **more))
    assert (d.turn, d.region, d.label, d.after) == (0, region, label, after)
    assert d.before is before or d.before.startswith(before)
    assert not d.df["same_input"].any()


def test_the_order_of_tools_and_another_model_differ_too(run):
    names = ["list_files", "read_file"]
    one, other = (played(looks("One. "), tools=tools) for tools in (names, names[::-1]))
    d = ja.diff(one, other)
    assert (d.region, d.before, d.after) == ("tool", "list_files, read_file", "read_file, list_files")
    echoed = ja.run("What is here?", model="echo", show=False)
    echoed.result()
    d = ja.diff(run, echoed)
    assert (d.turn, d.region, d.before, d.after) == (0, "model", "scripted", "echo")
    # What only one of them has is no difference in what was asked.
    assert d.df["turn_b"].fillna(-1).tolist() == [0, -1, -1]
    assert d.df["same_input"].isna().tolist() == [False, True, True]


def test_a_fork_is_laid_beside_the_turns_that_it_made_anew(run):
    same = run.fork(turn=1, show=False)
    assert same.result() == "Done."
    d = ja.diff(run, same)
    assert d.turn is None
    assert d.df[["turn_a", "turn_b"]].fillna(-1).values.tolist() == [[0, -1], [1, 0], [2, 1]]
    assert d.df["same_input"].all()
    other = run.fork(turn=1, instructions="Be brief.", show=False)
    other.result()
    d = ja.diff(run, other)
    assert (d.turn, d.turn_b, d.region, d.after) == (1, 0, "system", "Be brief.")
    assert "turn 1 (turn 0 there)" in repr(d)
    assert ja.diff(other, run).turn == 0
    # Two forks of one run part where they part, whatever the turns they begin at.
    assert ja.diff(same, other).turn == 0
    later = run.fork(turn=2, show=False)
    later.result()
    assert ja.diff(same, later).df[["turn_a", "turn_b"]].fillna(-1).values.tolist() == [[0, -1], [1, 0]]
    # The forked run's words are not said twice.
    assert same.messages.df["role"].tolist() == ["assistant", "tool", "assistant"]
    told = ja.runs(run=same).iloc[0]
    assert (told["forked_from_run_id"], told["forked_from_turn"], told["message_count"]) == (run.id, 1, 2)


def test_what_came_before_on_the_thread_counts(run):
    thread = ja.thread()
    first = played(["Hello."], thread=thread)
    after = played(looks("One. ", "Two. "), thread=thread)
    d = ja.diff(run, after)
    assert (d.turn, d.region) == (0, "message")
    again = first.fork(input="What is here?", script=looks("One. ", "Two. "), show=False)
    again.result()
    assert ja.diff(after, again).turn is None


async def test_forks_and_diffs_are_awaited_too(run):
    fork = await run.afork(turn=2, show=False)
    assert await fork == "Done."
    assert (await ja.adiff(run, fork)).turn is None


def test_faults_are_told_in_words(run):
    with pytest.raises(RunNotFound):
        ja.diff(run, "run_00000000000000000000")
    with pytest.raises(InvalidRequest, match="7 is no run"):
        ja.diff(run, 7)
    with pytest.raises(InvalidRequest, match="its turns are 0 to 2"):
        run.fork(turn=7, show=False)
    with pytest.raises(InvalidRequest, match="had answered there"):
        run.fork(show=False)
    with pytest.raises(InvalidRequest, match="cannot be forked like this"):
        run.fork(turn="two", show=False)


def test_a_run_that_goes_on_is_told_as_far_as_it_is(run):
    slow = ja.run("What is here?", model="scripted", show=False,
                  script=[*looks("One. ")[:1], {"text": "word " * 900, "delay_s": 0.02}])  # fmt: skip
    for _ in range(200):
        if len(ja.turns(run=slow)):
            break
    d = ja.diff(run, slow)
    assert d.df["turn_b"].fillna(-1).tolist() == [0, -1, -1]
    slow.interrupt()


def test_lost_answers_are_asked_for_again_and_fork_once(run, monkeypatch):
    client = session().client
    fetch, lost = client._fetch, []

    async def losing(gateway, method, path, **more):
        answer = await fetch(gateway, method, path, **more)
        if path.endswith("/fork") and not lost:
            lost.append(answer)
            raise OSError("cut")
        return answer

    monkeypatch.setattr(client, "_fetch", losing)
    before = len(ja.runs())
    assert run.fork(turn=2, show=False).result() == "Done."
    assert lost
    assert len(ja.runs()) == before + 1


def test_a_folder_without_a_server_tells_the_same(tmp_path):
    live = LiveServer(tmp_path)
    with asyncio.Runner() as runner:
        runner.run(live.start())
        client = ja.connect(live.url, TOKEN)
        one, other = played(looks("One. ", "Two. ")), played(looks("One. ", "Otherwise. "))
        fork = one.fork(turn=1, show=False)
        fork.result()
        told = [ja.diff(one, other), ja.diff(one, fork)]
        client.close()
        runner.run(live.stop())
    store = ja.open_store(next(tmp_path.rglob(DATABASE)))
    for asked, second in zip(told, (other, fork), strict=True):
        d = store.diff(one.id, second.id)
        assert (repr(d), d.turn) == (repr(asked), asked.turn)
        assert d.df.equals(asked.df)
    with pytest.raises(RunNotFound):
        store.diff(one.id, "run_00000000000000000000")


def test_other_agents_logs_are_compared_by_what_they_tell(tmp_path):
    def talk(answer):
        call = {"id": answer, "type": "function", "function": {"name": "ls", "arguments": "{}"}}
        return [
            {"role": "system", "content": "You help."}, {"role": "user", "content": "Look."},
            {"role": "assistant", "content": "I look.", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": answer, "content": f"a.txt {answer}"},
            {"role": "assistant", "content": "There."},
        ]  # fmt: skip

    imports = []
    for name in ("one", "other"):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(talk(name)))
        imports.append(ja.import_traces(path))
    d = ja.diff(*imports)
    assert d.df["same_input"].tolist() == [True, False]
    assert (d.turn, d.region, d.label) == (1, "message", "tool")
    assert (d.before, d.after) == ("ls → a.txt one", "ls → a.txt other")
    assert ja.diff(imports[0], imports[0]).turn is None
    path = tmp_path / "both.jsonl"
    path.write_text("\n".join(json.dumps({"messages": talk(name)}) for name in ("one", "other")))
    both = ja.import_traces(path)
    first, second = both.runs.df["run_id"]
    assert both.diff(first, second).turn == 1
    with pytest.raises(InvalidRequest, match="Name one of them"):
        ja.diff(both, imports[0])
