"""What passes spend: reserved together, settled to the real figures, and never twice the same rest."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_agent.exceptions import WorkflowRunNotFound
from jupyter_agent.records import Budget, Principal, StoredCall, WorkflowBudget, WorkflowRun, new_id, utc_now
from jupyter_agent.storage.sql import SqlRows
from jupyter_agent.workflow.budget import granted

ME = Principal(user_id="me")
NOW = utc_now()


def decide(call, ledger):
    return granted(call, ledger, run_budget=Budget())


async def opened(rows, tokens=None, cost=None):
    return await rows.create_workflow_run(
        WorkflowRun(
            workflow_run_id=new_id("wfr"), user_id="me", workflow="w", project="p", created_at=NOW, updated_at=NOW,
            budget_tokens=tokens, budget_cost=cost,
        )
    )  # fmt: skip


def call(tokens=None, *, phase=None, of_phase=None, **more):
    said = {"prompt": "x", "phase": phase, "phaseBudget": of_phase, "budget": tokens and {"tokens": tokens}}
    values = {
        "call_id": new_id("call"), "user_id": "", "workflow": "", "project": "", "key": new_id("key"),
        "fields": {"prompt": "x"}, "said": {name: value for name, value in said.items() if value}, "created_at": NOW,
        "used_at": NOW,
    }  # fmt: skip
    return StoredCall(**values | more)


async def start(rows, run, *calls):
    return await rows.start_calls(run.workflow_run_id, calls, by=ME, decide=decide)


async def settle(rows, one, tokens, cost=0.0):
    """Settles as a server does: by the call's end, or by what a failed one took."""
    await rows.fail_call(one.call_id, took=(tokens, cost))


async def sums(rows, run):
    ledger = await rows.ledger(run.workflow_run_id, by=ME)
    return ledger.settled.tokens, ledger.reserved.tokens


async def test_sixteen_at_once_cannot_take_the_same_rest(rows):
    run = await opened(rows, tokens=1_000)
    started = await asyncio.gather(*(start(rows, run, call(300)) for _ in range(16)))
    assert await sums(rows, run) == (0, 900)
    grants = await asyncio.gather(*(rows.reserve_call(one, decide=decide) for (one,) in started))
    assert sum(grant.reserved is not None for grant in grants) == 3
    assert sum(grant == (None, None) for grant in grants) == 13, "they wait: what is reserved may come back"
    got = [one for (one,), grant in zip(started, grants, strict=True) if grant.reserved is not None]
    waiting = [one for (one,), grant in zip(started, grants, strict=True) if grant.reserved is None]
    await asyncio.gather(*(settle(rows, one, 250) for one in got))
    assert await sums(rows, run) == (750, 0)
    grants = await asyncio.gather(*(rows.reserve_call(one, decide=decide) for one in waiting))
    assert all(grant.refusal is not None for grant in grants)
    assert grants[0].refusal.details == {"limit": "tokens", "allowed": 1_000, "used": 750, "needed": 300}
    assert await sums(rows, run) == (750, 0)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    total=st.integers(1, 5_000),
    phase=st.none() | st.integers(1, 3_000),
    wishes=st.lists(st.tuples(st.none() | st.integers(1, 2_000), st.booleans()), min_size=1, max_size=16),
    took=st.lists(st.floats(0, 1), min_size=16, max_size=16),
)
def test_whatever_calls_want_the_sum_never_goes_over_the_budget(backend, total, phase, wishes, took):
    """Branches start, end and go on at once; each takes a part of what it reserved."""

    async def play():
        rows = SqlRows(backend)
        await rows.open()
        try:
            run = await opened(rows, tokens=total)
            of_phase = {"tokens": phase} if phase is not None else None

            async def branch(wish, *, in_phase, part):
                named = {"phase": "a", "of_phase": of_phase} if in_phase else {}
                (one,) = await start(rows, run, call(wish, **named))
                for _ in range(50):
                    grant = await rows.reserve_call(one, decide=decide)
                    ledger = await rows.ledger(run.workflow_run_id, by=ME)
                    assert ledger.settled.tokens + ledger.reserved.tokens <= total
                    if phase is not None and in_phase:
                        both = (ledger.in_phases, ledger.reserved_in_phases)
                        assert sum(some["a"].tokens for some in both if "a" in some) <= phase
                    if grant.refusal is not None:
                        await settle(rows, one, 0)
                        return
                    if grant.reserved is not None:
                        assert wish is None or grant.reserved.tokens == wish
                        assert grant.reserved.tokens >= 1
                        await asyncio.sleep(0)
                        await settle(rows, one, int(grant.reserved.tokens * part))
                        return

            branches = [branch(wish, in_phase=flag, part=took[at]) for at, (wish, flag) in enumerate(wishes)]
            await asyncio.gather(*branches)
        finally:
            await rows.close()

    asyncio.run(play())


async def test_a_reservation_outlives_who_made_it(backend):
    rows = SqlRows(backend)
    await rows.open()
    run = await opened(rows, tokens=1_000)
    (one,) = await start(rows, run, call(700))
    await rows.close()
    again = SqlRows(backend)
    await again.open()
    try:
        assert await sums(again, run) == (0, 700)
        assert (await again.reserve_call(one, decide=decide)).reserved == WorkflowBudget(tokens=700)
        (other,) = await start(again, run, call(700))
        assert (await again.reserve_call(other, decide=decide)).reserved is None
        await again.finish_call(StoredCall(**{name: getattr(one, name) for name in one.__struct_fields__}
                                           | {"is_done": True, "tokens": 120, "cost": 0.5, "answer": "a"}))  # fmt: skip
        await again.finish_call(one)
        assert await sums(again, run) == (120, 0)
        assert (await again.reserve_call(other, decide=decide)).reserved == WorkflowBudget(tokens=700)
    finally:
        await again.close()


async def test_what_says_nothing_reserves_by_what_such_calls_took_or_a_share(rows):
    run = await opened(rows, tokens=100_000)
    plain, tooled = await start(rows, run, call(), call(fields={"prompt": "x", "tools": {"read_file": "1"}}))
    got = [(await rows.reserve_call(one, decide=decide)).reserved.tokens for one in (plain, tooled)]
    assert got == [6_250, 25_000]
    for one, tokens in ((plain, 2_000), (tooled, 5_000)):
        values = {name: getattr(one, name) for name in one.__struct_fields__}
        done = {"is_done": True, "tokens": tokens, "cost": 0.0, "answer": "a"}
        await rows.finish_call(StoredCall(**values | done))
    await rows.finish_call(StoredCall(**values | done))
    (later, same) = await start(rows, run, call(), call(key=plain.key))
    got = [(await rows.reserve_call(one, decide=decide)).reserved.tokens for one in (later, same)]
    assert got == [10_000, 83_000 // 16], "twice the most of the workflow; a sixteenth of what is free"
    many = await start(rows, run, *(call(key=plain.key) for _ in range(16)))
    got = [(await rows.reserve_call(one, decide=decide)).reserved for one in many]
    assert None not in got, "what is more than enough keeps nobody waiting"
    assert min(one.tokens for one in got) == 4_000, "where little is free it is twice what the same call took"


async def test_money_has_a_limit_too_and_an_unknown_price_counts_as_reserved(rows):
    run = await opened(rows, cost=1.0)
    (one,) = await start(rows, run, call(said={"prompt": "x", "budget": {"cost": 0.75}}))
    await settle(rows, one, 10, None)
    ledger = await rows.ledger(run.workflow_run_id, by=ME)
    assert (ledger.settled.cost, ledger.is_cost_known) == (0.75, False)
    (two,) = await start(rows, run, call(said={"prompt": "x", "budget": {"cost": 0.75}}))
    refusal = (await rows.reserve_call(two, decide=decide)).refusal
    assert "1 US dollars, of which 0.25 US dollars are left" in refusal.message


async def test_a_budget_is_its_owners(rows):
    run = await opened(rows, tokens=100)
    other = Principal(user_id="other")
    for deed in (
        rows.ledger(run.workflow_run_id, by=other),
        rows.set_workflow_budget(run.workflow_run_id, WorkflowBudget(), by=other),
    ):
        with pytest.raises(WorkflowRunNotFound):
            await deed
    changed = await rows.set_workflow_budget(run.workflow_run_id, WorkflowBudget(cost=2.0), by=ME)
    assert (changed.budget_tokens, changed.budget_cost) == (None, 2.0)
