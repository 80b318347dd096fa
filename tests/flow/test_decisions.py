"""What happens next: random flows end as a slow reference says, in whatever order their steps end."""

from collections import Counter
from datetime import UTC, datetime

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_agent.flow import Case, Default, Flow, Kind, Step, StepStatus, decide, initial
from jupyter_agent.flow.decisions import MAX_RESTARTS, Ended, cancelled, reconcile, settle, standing
from jupyter_agent.flow.faults import faults_of
from jupyter_agent.records import RunStatus
from tests.flow.graphs import plans
from tests.flow.reference import ends, is_in_error

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SLOW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def check_in_flight(flow, states):
    running = [step for step in flow.steps if states[step.id].status is StepStatus.RUNNING]
    for name, count in Counter(step.batch for step in running if step.batch).items():
        assert count <= flow.batches[name]
    assert sum(step.kind is not Kind.APPROVAL for step in running) <= flow.max_concurrent
    return [step.id for step in running]


@SLOW
@given(plan=plans(), data=st.data())
def test_whatever_ends_first_a_flow_ends_as_the_reference_says(plan, data):
    flow, states, begun = plan.flow, initial(plan.flow), Counter()
    assert faults_of(flow) == []
    while True:
        said = decide(flow, {}, states, now=NOW)
        states |= said.changed
        assert decide(flow, {}, states, now=NOW).changed == {}, "once decided there is nothing more to decide"
        for name in said.start:
            begun[name] += 1
            assert states[name].status is StepStatus.RUNNING
        running = check_in_flight(flow, states)
        if said.over is not None:
            break
        assert running, "a flow that is not over has something in flight"
        # One of those in flight ends, or its process dies and it begins again.
        name = data.draw(st.sampled_from(running))
        step, state = flow.by_id[name], states[name]
        if step.kind is Kind.CODE and state.restarts < 2 and data.draw(st.integers(0, 5)) == 0:
            states[name] = reconcile(step, state, False, now=NOW)
            continue
        states[name] = settle(step, state, Ended(StepStatus(plan.outcomes[name][state.retries])), now=NOW)
    assert not running
    wanted = ends(flow, plan.outcomes, plan.guards, plan.choices)
    assert {name: standing(state) for name, state in states.items()} == wanted
    assert said.over is (RunStatus.ERROR if is_in_error(flow, wanted) else RunStatus.COMPLETED)
    for name, state in states.items():
        assert begun[name] == state.attempt == (1 + state.retries + state.restarts if begun[name] else 0)
        if name in plan.choices and state.status is StepStatus.COMPLETED:
            label = plan.choices[name]
            assert state.output == (f"branch:{label}" if label else "")


def code(name, *deps, **given):
    return Step(id=name, kind="code", do=lambda _: None, deps=deps, **given)


def after(flow, **ended):
    states = initial(flow)
    for name, status in ended.items():
        states[name] = settle(
            flow.by_id[name], decide(flow, {}, states, now=NOW).changed[name], Ended(StepStatus(status)), now=NOW
        )
    said = decide(flow, {}, states, now=NOW)
    return said, states | said.changed


def test_the_first_true_case_wins_and_the_branches_meet_again():
    first = Step(
        id="which", kind="switch", default=Default(("c",)),
        cases=[Case("no", lambda _: False, ("a",)), Case("yes", lambda _: True, ("b",)), Case("too", lambda _: True)],
    )  # fmt: skip
    flow = Flow("f", [first, code("a"), code("a2", "a"), code("b"), code("c"), code("join", "a2", "b", "c")])
    said, states = after(flow)
    assert (said.start, states["which"].output) == (("b",), "branch:yes")
    assert [name for name, one in states.items() if one.excluded] == ["a", "a2", "c"]
    states["b"] = settle(flow.by_id["b"], states["b"], Ended(StepStatus.COMPLETED), now=NOW)
    assert decide(flow, {}, states, now=NOW).start == ("join",)


def test_a_switch_without_a_true_case_and_default_gives_nothing():
    flow = Flow("f", [Step(id="s", kind="switch", cases=[Case("x", lambda _: 0, ("a",))]), code("a")])
    said, states = after(flow)
    assert (said.over, states["s"].output, states["a"].excluded) == (RunStatus.COMPLETED, "", True)


def test_a_guard_sees_what_came_before_and_its_failure_is_the_steps():
    seen = []
    flow = Flow("f", [
        code("a"), code("b", "a", when=lambda ctx: seen.append(ctx.status("a")) or True),
        code("c", when=lambda ctx: ctx["a"]),
    ])  # fmt: skip
    said, states = after(flow, a="completed")
    assert (said.start, seen) == (("b",), [StepStatus.COMPLETED])
    assert states["c"].status is StepStatus.FAILED
    assert "name it in its deps" in states["c"].error


def test_only_a_timeout_is_retried_unless_more_is_said():
    timed_out, failed = Ended(StepStatus.TIMED_OUT), Ended(StepStatus.FAILED)
    running = initial(Flow("f", [code("a")]))["a"].__class__(step_id="a", status=StepStatus.RUNNING, attempt=1)
    plain, more = code("a", max_retries=1), code("a", max_retries=1, retry_on=["failed"])
    assert settle(plain, running, timed_out, now=NOW).status is StepStatus.PENDING
    assert settle(plain, running, failed, now=NOW).status is StepStatus.FAILED
    assert settle(more, running, failed, now=NOW).status is StepStatus.PENDING
    assert settle(more, running, timed_out, now=NOW).status is StepStatus.TIMED_OUT


def test_a_failure_fails_the_flow_unless_somebody_takes_it_over():
    said, _ = after(Flow("f", [code("a"), code("b", "a")]), a="failed")
    assert said.over is RunStatus.ERROR
    assert "a (failed)" in said.error
    flow = Flow("f", [code("a"), code("b", "a"), code("tidy", "a", trigger_rule="all_done")])
    said, states = after(flow, a="failed")
    assert (said.start, said.over) == (("tidy",), None)
    states["tidy"] = settle(flow.by_id["tidy"], states["tidy"], Ended(StepStatus.COMPLETED), now=NOW)
    assert decide(flow, {}, states, now=NOW).over is RunStatus.COMPLETED


def test_after_a_crash_each_step_is_kept_ended_or_begun_again():
    flow = Flow("f", [code("a"), code("b", side_effects=True), Step(id="c", kind="approval", prompt="?")])
    _, states = after(flow)
    new = {step.id: reconcile(step, states[step.id], False, now=NOW) for step in flow.steps}
    assert [new[name].status.value for name in "abc"] == ["pending", "failed", "running"]
    assert new["a"].restarts == 1
    assert "nobody knows" in new["b"].error
    a = flow.by_id["a"]
    assert reconcile(a, states["a"], True, now=NOW) is states["a"]
    assert reconcile(a, states["a"], Ended(StepStatus.CANCELLED), now=NOW).status is StepStatus.CANCELLED
    worn = states["a"].__class__(step_id="a", status=StepStatus.RUNNING, attempt=9, restarts=MAX_RESTARTS)
    assert reconcile(a, worn, False, now=NOW).status is StepStatus.FAILED


def test_what_is_over_stays_as_it_is():
    flow = Flow("f", [code("a"), code("b", "a")])
    _, states = after(flow, a="completed")
    assert settle(flow.by_id["a"], states["a"], Ended(StepStatus.FAILED), now=NOW) is states["a"]
    assert {*cancelled(states, now=NOW)} == {"b"}
