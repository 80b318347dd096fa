"""What people were asked, as rows: when, what they said, and what was never answered."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from jupyter_agent import events as ev
from jupyter_agent.exceptions import ApprovalNotFound, RunNotFound
from jupyter_agent.journal.check import check
from jupyter_agent.journal.rebuild import rebuild
from jupyter_agent.records import SYSTEM, AskStatus, Decision, Principal, RunStatus, Usage, new_id
from tests.journal.test_rows_follow import ALICE, World
from tests.storage.test_rows import a_run, a_thread

MALLORY = Principal(user_id="mallory")


@pytest.fixture
def world(storage, journal, projection):
    return World(storage, journal, projection)


async def test_an_approval_has_a_row_from_when_it_is_asked(world):
    rows = world.storage.rows
    await world.start("r")
    await world.turn("r", 0)
    await world.ask("r", "apr_1")
    await world.projection.settle("r")
    (asked,) = await rows.list_approvals("r", by=ALICE)
    assert (asked.status, asked.decision, asked.resolved_at) == (AskStatus.PENDING, None, None)
    assert (asked.arguments, asked.preview) == ('{"path":"a"}', {"path": "a", "lines": [1, None]})
    decided = {"arguments": '{"path":"b"}', "actor": "Alice", "reason": "rather b"}
    await world.journal.append(
        "r", ev.ApprovalResolved(approval_id="apr_1", tool_call_id="c0", decision=Decision.EDIT, **decided)
    )
    await world.projection.settle("r")
    (found,) = await rows.list_approvals("r", by=ALICE)
    assert (found.status, found.decision, found.actor) == (AskStatus.RESOLVED, Decision.EDIT, "Alice")
    assert (found.arguments, found.resolved_arguments) == (asked.arguments, '{"path":"b"}')
    assert asked.asked_at <= found.resolved_at <= found.expires_at
    assert await rows.get_approval("apr_1", by=ALICE) == found


async def test_what_a_rule_decided_is_there_too(world):
    await world.start("r")
    await world.turn("r", 0)
    refused = {"decision": Decision.REJECT, "policy": "deny: network"}
    await world.journal.append("r", ev.ApprovalResolved(approval_id="apr_9", tool_call_id="c0", **refused))
    await world.end("r")
    (found,) = await world.storage.rows.list_approvals("r", by=ALICE)
    assert (found.policy, found.actor, found.tool_name) == ("deny: network", None, "read_file")
    assert found.asked_at == found.resolved_at


async def test_what_nobody_answered_lapses_with_its_run(world):
    await world.start("r")
    await world.turn("r", 0)
    await world.ask("r", "apr_1", Decision.APPROVE, actor="Alice")
    await world.ask("r", "apr_2")
    for name in ("q1", "q2"):
        await world.journal.append("r", ev.InputRequest(request_id=name, prompt="?"))
    await world.journal.append("r", ev.InputReceived(request_id="q1", content="yes", actor="Alice"))
    await world.end("r", RunStatus.INTERRUPTED)
    rows = world.storage.rows
    assert [one.status for one in await rows.list_approvals("r", by=ALICE)] == [AskStatus.RESOLVED, AskStatus.LAPSED]
    answered, lapsed = await rows.list_inputs("r", by=ALICE)
    assert (answered.content, answered.actor, answered.status) == ("yes", "Alice", AskStatus.RESOLVED)
    assert (lapsed.content, lapsed.status) == (None, AskStatus.LAPSED)
    assert (await check(world.storage)).problems == []


async def test_a_changed_answer_is_found_and_mended(world):
    await world.start("r")
    await world.turn("r", 0)
    await world.ask("r", "apr_1", Decision.REJECT, actor="Alice")
    await world.end("r")
    rows = world.storage.rows
    before = await rows.list_approvals("r", by=SYSTEM)
    run = await rows.get_run("r", by=SYSTEM)
    await rows.project([run], [], [], asked=[replace(before[0], decision=Decision.APPROVE)])
    assert not (await check(world.storage)).is_whole
    await rebuild(world.storage)
    assert await rows.list_approvals("r", by=SYSTEM) == before
    assert (await check(world.storage)).is_whole


async def test_they_are_their_owners_and_go_with_their_run(world):
    await world.start("r")
    await world.turn("r", 0)
    await world.ask("r", "apr_1", Decision.APPROVE, actor="Alice")
    await world.journal.append("r", ev.InputRequest(request_id="q", prompt="?"))
    await world.end("r")
    rows = world.storage.rows
    for ask in (rows.list_approvals("r", by=MALLORY), rows.list_inputs("r", by=MALLORY)):
        with pytest.raises(RunNotFound):
            await ask
    with pytest.raises(ApprovalNotFound):
        await rows.get_approval("apr_1", by=MALLORY)
    await rows.delete_run("r", by=ALICE)
    with pytest.raises(ApprovalNotFound):
        await rows.get_approval("apr_1", by=SYSTEM)


# --- what runs used together ----------------------------------------------------------------------------------------


async def test_a_summary_is_no_turn_and_is_counted(world):
    await world.start("r")
    await world.turn("r", 0)
    took = Usage(input_tokens=100, output_tokens=7, requests=1, cost=0.5)
    blob = await world.storage.blobs.put(b"summary")
    await world.journal.append("r", ev.Compacted(blob=blob, turns=1, before=200, after=10, usage=took))
    await world.end("r")
    run = await world.storage.rows.get_run("r", by=ALICE)
    assert (run.usage.requests, run.helper_tokens, run.helper_cost) == (1, 107, 0.5)
    totals = await world.storage.rows.run_totals("r", by=ALICE)
    assert (totals.own_tokens, totals.helper_tokens, totals.subagent_tokens) == (4, 107, 0)
    assert (totals.total_tokens, totals.cost, totals.runs) == (111, 0.75, 1)


TREES = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 5), st.one_of(st.none(), st.integers(0, 9))),
    min_size=1,
    max_size=12,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(tree=TREES)
async def test_the_leaves_of_any_tree_sum_to_its_totals(world, tree):
    """Each run says: tokens in, out, of helpers, and how many before it its parent was asked for."""
    rows, key = world.storage.rows, new_id("t")
    names = [f"{key}-{number}" for number in range(len(tree))]
    await rows.create_thread(a_thread(key))
    parents: list[int | None] = []
    for number, (tokens_in, tokens_out, helper, back) in enumerate(tree):
        parents.append(number - 1 - back if back is not None and number - 1 - back >= 0 else None)
        parent = parents[number]
        await rows.create_run(
            a_run(
                names[number], thread=key, status=RunStatus.COMPLETED, helper_tokens=helper, helper_cost=0.25,
                usage=Usage(input_tokens=tokens_in, output_tokens=tokens_out, requests=1, cost=0.5),
                parent_run_id=None if parent is None else names[parent],
            )
        )  # fmt: skip

    def below(number: int) -> set[int]:
        children = {one for one, parent in enumerate(parents) if parent == number}
        return {number}.union(*(below(child) for child in children))

    for number, (tokens_in, tokens_out, helper, _) in enumerate(tree):
        totals = await rows.run_totals(names[number], by=ALICE)
        leaves = below(number)
        assert totals.runs == len(leaves)
        assert totals.total_tokens == sum(sum(tree[leaf][:3]) for leaf in leaves)
        assert (totals.own_tokens, totals.helper_tokens) == (tokens_in + tokens_out, helper)
        assert totals.own_tokens + totals.helper_tokens + totals.subagent_tokens == totals.total_tokens
        assert totals.cost == sum(0.75 if tree[leaf][2] else 0.5 for leaf in leaves)


async def test_parents_that_go_round_are_counted_once(world):
    rows = world.storage.rows
    await rows.create_thread(a_thread())
    for name, parent in (("a", "b"), ("b", "a")):
        used = Usage(input_tokens=1, requests=1)
        await rows.create_run(a_run(name, status=RunStatus.COMPLETED, parent_run_id=parent, usage=used))
    totals = await rows.run_totals("a", by=ALICE)
    assert (totals.runs, totals.total_tokens, totals.cost) == (2, 2, None)
