"""Flows carried out, over each keeper there is: memory and rows on both databases."""

import asyncio
import time
from datetime import timedelta

import pytest

from jupyter_agent.exceptions import (
    AlreadyResolved,
    Conflict,
    FlowInvalid,
    FlowRunNotFound,
    Forbidden,
    InvalidRequest,
    LeaseLost,
    RunFinished,
)
from jupyter_agent.flow import Case, Default, Flow, Step, StepStatus
from jupyter_agent.flow.agents import Clock
from jupyter_agent.flow.keeper import Memory
from jupyter_agent.flow.runner import FlowRunner
from jupyter_agent.records import SYSTEM, Principal, RunStatus, utc_now
from jupyter_agent.storage.sql import SqlRows

MALLORY = Principal(user_id="mallory")


class FakeClock(Clock):
    """Time that passes when it is told to."""

    def __init__(self):
        self.at = utc_now()
        self._sleepers = []

    def now(self):
        return self.at

    async def sleep(self, seconds):
        waiting = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.at + timedelta(seconds=seconds), waiting))
        await waiting

    def advance(self, seconds):
        self.at += timedelta(seconds=seconds)
        for until, waiting in self._sleepers:
            if until <= self.at and not waiting.done():
                waiting.set_result(None)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def kind(request):
    return request.param


@pytest.fixture
async def keeper(kind, request):
    if kind == "memory":
        yield Memory()
        return
    rows = SqlRows(request.getfixturevalue("backend"))
    await rows.open()
    yield rows
    await rows.close()


@pytest.fixture
async def begin(keeper):
    """Opens runners over the keeper, and closes them in the end."""
    opened = []

    async def begin(*flows, **given):
        runner = FlowRunner(flows, keeper=keeper, **given)
        opened.append(runner)
        await runner.open()
        return runner

    yield begin
    for runner in opened:
        await runner.close()


def code(name, *deps, do=lambda _: None, **given):
    return Step(id=name, kind="code", do=do, deps=deps, **given)


async def until(condition):
    async with asyncio.timeout(10):
        while not (found := await condition()):
            await asyncio.sleep(0.005)
    return found


async def states(runner, run):
    return {one.step_id: one for one in await runner.steps(run.flow_run_id)}


async def reaches(runner, run, **wanted):
    async def there():
        found = await states(runner, run)
        return all(found[name].status == status for name, status in wanted.items()) and found

    return await until(there)


async def test_a_flow_of_all_kinds(begin):
    asked = []

    async def ask(prompt, **options):
        asked.append((prompt, options))
        return f"answer to {prompt}"

    def late(ctx):
        return len(ctx["ask"])

    flow = Flow(
        "report",
        [
            code("read", do=lambda ctx: ctx.args["text"].upper()),
            Step(id="ask", kind="agent", deps=["read"], prompt=lambda ctx: ctx["read"], options={"label": "x"}),
            code("count", "ask", do=late),
            Step(
                id="long", kind="switch", deps=["count"], default=Default(["short"]),
                cases=[Case("yes", lambda ctx: ctx["count"] > 100, ["cut"])],
            ),
            code("cut"),
            code("short", do=lambda _: "it is short"),
            code("join", "cut", "short", do=lambda ctx: ctx.outputs),
        ],
        render=lambda ctx: f"{ctx['ask']}: {ctx['short']}",
        output="report.md",
    )  # fmt: skip
    runner = await begin(flow, agents=ask)
    run = await runner.wait((await runner.start("report", {"text": "hi"})).flow_run_id)
    assert (run.status, run.result, run.output) == (RunStatus.COMPLETED, "answer to HI: it is short", "report.md")
    assert asked == [("HI", {"label": "x"})]
    found = await states(runner, run)
    assert (found["long"].output, found["cut"].excluded) == ("branch:default", True)
    assert found["join"].output["short"] == "it is short"


async def test_what_is_wrong_is_told_before_anything_starts(begin):
    runner = await begin(
        Flow("bad", [code("a", "b"), code("b", "a")]), Flow("asks", [Step(id="a", kind="agent", prompt="?")])
    )
    with pytest.raises(FlowInvalid, match="in a circle"):
        await runner.start("bad")
    with pytest.raises(InvalidRequest, match="has none"):
        await runner.start("asks")
    with pytest.raises(InvalidRequest, match="there are: asks, bad"):
        await runner.start("other")


async def test_after_a_timeout_a_step_is_tried_again(begin):
    clock, begun = FakeClock(), []

    async def slow(ctx):
        begun.append(1)
        if len(begun) == 1:
            await asyncio.Event().wait()
        return "now"

    runner = await begin(Flow("f", [code("a", do=slow, max_retries=1)]), clock=clock)
    run = await runner.start("f")
    await until(lambda: asyncio.sleep(0, begun))
    clock.advance(299)
    await asyncio.sleep(0.02)
    assert (await states(runner, run))["a"].attempt == 1
    clock.advance(1)
    run = await runner.wait(run.flow_run_id)
    assert (run.status, (await states(runner, run))["a"].retries) == (RunStatus.COMPLETED, 1)


async def test_without_tries_left_it_has_timed_out(begin):
    async def never(ctx):
        await asyncio.Event().wait()

    runner = await begin(Flow("f", [code("a", do=never, timeout_s=0.01), code("b", "a")]))
    run = await runner.wait((await runner.start("f")).flow_run_id)
    assert run.status is RunStatus.ERROR
    assert "a (timed out): It took longer than its 0.01 s." in run.error
    assert {name: one.status.value for name, one in (await states(runner, run)).items()} == {
        "a": "timed_out", "b": "skipped",
    }  # fmt: skip


async def test_a_failure_and_a_value_that_cannot_be_kept_are_told(begin):
    def fails(ctx):
        raise ValueError("no\0 good")

    runner = await begin(Flow("f", [code("a", do=fails), code("b", do=lambda _: object())]))
    run = await runner.wait((await runner.start("f")).flow_run_id)
    found = await states(runner, run)
    assert found["a"].error == "ValueError: no\N{REPLACEMENT CHARACTER} good"
    assert "return plain data" in found["b"].error


APPROVED = Flow("f", [Step(id="ok", kind="approval", prompt="May I?"), code("b", "ok", do=lambda ctx: ctx["ok"])])


async def test_a_person_approves_once(begin):
    runner = await begin(APPROVED)
    run = await runner.start("f")
    await reaches(runner, run, ok="running")
    assert (await runner._keeper.get_flow_run(run.flow_run_id, by=SYSTEM)).status is RunStatus.WAITING_CONFIRMATION
    with pytest.raises(FlowRunNotFound):
        await runner.resolve(run.flow_run_id, "ok", approve=True, by=MALLORY)
    with pytest.raises(Forbidden):
        await runner.resolve(run.flow_run_id, "ok", approve=True, by=Principal(user_id="owner", may_approve=False))
    with pytest.raises(Conflict, match="asks nobody"):
        await runner.resolve(run.flow_run_id, "b", approve=True)
    twice = (runner.resolve(run.flow_run_id, "ok", approve=True) for _ in range(2))
    said = await asyncio.gather(*twice, return_exceptions=True)
    assert sorted(isinstance(one, AlreadyResolved | RunFinished) for one in said) == [False, True]
    run = await runner.wait(run.flow_run_id)
    assert (run.status, (await states(runner, run))["b"].output) == (RunStatus.COMPLETED, True)
    with pytest.raises(RunFinished):
        await runner.resolve(run.flow_run_id, "ok", approve=False)


async def test_what_is_rejected_does_not_go_on(begin):
    runner = await begin(APPROVED)
    run = await runner.start("f")
    await reaches(runner, run, ok="running")
    await runner.resolve(run.flow_run_id, "ok", approve=False, reason="not today")
    run = await runner.wait(run.flow_run_id)
    assert run.status is RunStatus.ERROR
    assert "Rejected by owner: not today" in run.error
    assert (await states(runner, run))["b"].status is StepStatus.SKIPPED


async def test_what_ends_while_it_is_looked_at_is_told_as_it_ended():
    gate = asyncio.Event()

    class Late(Memory):
        """Answers when the run is over with how it stood before."""

        async def get_flow_run(self, flow_run_id, *, by):
            run = await super().get_flow_run(flow_run_id, by=by)
            if not gate.is_set():
                gate.set()
                await until(lambda: asyncio.sleep(0, not runner._tasks))
            return run

    async def waits(ctx):
        await gate.wait()

    runner = FlowRunner([Flow("f", [code("a", do=waits)])], keeper=Late())
    run = await runner.start("f")
    assert (await runner.wait(run.flow_run_id)).status is RunStatus.COMPLETED
    gate.clear()
    run = await runner.start("f")
    with pytest.raises(RunFinished):
        await runner.cancel(run.flow_run_id)


async def test_nobody_who_answers_is_no_yes(begin):
    clock = FakeClock()
    flow = Flow("f", [Step(id="ok", kind="approval", prompt="?", timeout_s=600), code("b", "ok")])
    runner = await begin(flow, clock=clock)
    run = await runner.start("f")
    await reaches(runner, run, ok="running")
    over = asyncio.create_task(runner.wait(run.flow_run_id))
    async with asyncio.timeout(30):
        while not over.done():
            # It begins to count when it runs, a moment after it is said to.
            clock.advance(600)
            await asyncio.sleep(0.01)
    run = over.result()
    assert (run.status, (await states(runner, run))["ok"].status) == (RunStatus.ERROR, StepStatus.TIMED_OUT)


async def test_a_cancelled_flow_stops_at_once_for_good(begin):
    stopped = []

    async def ask(prompt, **_):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.append(prompt)
            raise

    asks = [Step(id=name, kind="agent", prompt=name) for name in ("a", "b")]
    flow = Flow("f", [*asks, code("blocks", do=lambda _: time.sleep(0.5)), code("c", "a", trigger_rule="all_done")])
    runner = await begin(flow, agents=ask)
    run = await runner.start("f")
    await reaches(runner, run, a="running", b="running", blocks="running")
    began = time.monotonic()
    assert await runner.cancel(run.flow_run_id) == 3
    assert time.monotonic() - began < 10
    assert sorted(stopped) == ["a", "b"]
    run = await runner.wait(run.flow_run_id)
    assert run.status is RunStatus.INTERRUPTED
    assert {one.status for one in (await states(runner, run)).values()} == {StepStatus.CANCELLED}
    with pytest.raises(RunFinished):
        await runner.cancel(run.flow_run_id)


async def test_never_more_of_a_batch_than_it_allows(begin):
    flying, most = set(), []

    def step(name):
        async def do(ctx):
            flying.add(name)
            most.append(len(flying))
            await asyncio.sleep(0.001)
            flying.discard(name)

        return code(name, do=do, batch="few")

    runner = await begin(Flow("f", [step(f"s{number}") for number in range(12)], batches={"few": 3}))
    run = await runner.wait((await runner.start("f")).flow_run_id)
    assert (run.status, max(most), len(most)) == (RunStatus.COMPLETED, 3, 12)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
class TestOverRows:
    """What only a keeper that outlives its process can show."""

    async def test_a_person_may_answer_after_a_restart(self, begin):
        first = await begin(APPROVED)
        run = await first.start("f")
        await reaches(first, run, ok="running")
        await first.close()
        second = await begin(APPROVED)
        await second.resolve(run.flow_run_id, "ok", approve=True)
        assert (await second.wait(run.flow_run_id)).status is RunStatus.COMPLETED

    async def test_whoever_was_taken_over_writes_nothing_any_more(self, begin, keeper):
        going, gate = [], asyncio.Event()

        async def waits(ctx):
            going.append(1)
            await gate.wait()

        flow = Flow("f", [code("a", do=waits), code("b", "a")])
        first = await begin(flow, ttl_s=3600)
        run = await first.start("f")
        await until(lambda: asyncio.sleep(0, going))
        await keeper.release_flow_runs(owner=first._owner)
        second = await begin(flow, ttl_s=3600)
        lost = first._courses[run.flow_run_id]
        with pytest.raises(LeaseLost):
            await lost._keeper.save_flow_run(lost.run, [], lease_no=lost._lease_no)
        gate.set()
        run = await second.wait(run.flow_run_id)
        assert (run.status, len(going)) == (RunStatus.COMPLETED, 2)
        assert (await states(second, run))["a"].restarts == 1

    async def test_a_flow_declared_otherwise_is_not_gone_on_with(self, begin):
        first = await begin(APPROVED)
        run = await first.start("f")
        await reaches(first, run, ok="running")
        await first.close()
        second = await begin(Flow("f", [*APPROVED.steps, code("c")]))
        run = await second.wait(run.flow_run_id)
        assert run.status is RunStatus.ERROR
        assert "start it anew" in run.error

    async def test_one_id_is_one_run(self, begin):
        runner = await begin(APPROVED)
        await runner.start("f", flow_run_id="flow_1")
        with pytest.raises(Conflict, match="is taken"):
            await runner.start("f", flow_run_id="flow_1")
