"""How a flow must end, told slowly: each step by looking at how all it waits for ended, with no thought of time."""

from functools import cache

GOOD, EXCLUDED = "completed", "excluded"


def ends(flow, outcomes, guards, choices):
    """Returns how each step ends. `outcomes` are those of a step's attempts in turn, `guards` what its guard says,
    `choices` the label that a switch takes, "" for none."""

    @cache
    def end(name):
        step = flow.by_id[name]
        switches = [one for one in flow.steps if any(name in branch.steps for branch in one.branches)]
        waits_for = [end(dep) for dep in {*step.deps, *(one.id for one in switches)}]
        if waits_for and all(one == EXCLUDED for one in waits_for):
            return EXCLUDED
        for switch in switches:
            if end(switch.id) == EXCLUDED:
                return EXCLUDED
            if end(switch.id) != GOOD:
                return "skipped"
            mine = [branch.label for branch in switch.branches if name in branch.steps]
            if choices[switch.id] not in mine:
                return EXCLUDED
        good = [one in (GOOD, EXCLUDED) for one in waits_for]
        if step.trigger_rule == "all_success" and not all(good):
            return "skipped"
        if step.trigger_rule == "one_success" and waits_for and not any(good):
            return "skipped"
        if not guards[name]:
            return "skipped"
        if step.kind == "switch":
            return GOOD
        for number, outcome in enumerate(outcomes[name]):
            if outcome == GOOD or number == step.max_retries or outcome not in step.retry_on:
                return outcome
        raise AssertionError("a step has an outcome for each attempt")

    return {step.id: end(step.id) for step in flow.steps}


def is_in_error(flow, ended):
    """Tells whether somebody failed and nobody who bears failures went on directly behind."""
    for step in flow.steps:
        if ended[step.id] in ("failed", "timed_out", "cancelled"):
            behind = [one for one in flow.steps if step.id in one.deps and one.trigger_rule != "all_success"]
            if all(ended[one.id] in ("skipped", EXCLUDED) for one in behind):
                return True
    return False
