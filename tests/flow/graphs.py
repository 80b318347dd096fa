"""Random flows that may start, with how their steps end."""

from typing import NamedTuple

from hypothesis import strategies as st

from jupyter_agent.flow import Case, Default, Flow, Kind, Rule, Step

ENDS = ("completed", "completed", "completed", "failed", "timed_out", "cancelled")


class Plan(NamedTuple):
    """A flow and what its steps do: see reference.py."""

    flow: Flow
    outcomes: dict[str, list[str]]
    guards: dict[str, bool]
    choices: dict[str, str]


@st.composite
def plans(draw, most=9):
    count = draw(st.integers(1, most))
    names = [f"s{number}" for number in range(count)]
    batches = {"a": draw(st.integers(1, 3)), "b": draw(st.integers(1, 2))}
    free = set(names)
    steps, outcomes, guards, choices = [], {}, {}, {}
    for number, name in enumerate(names):
        deps = tuple(draw(st.sets(st.sampled_from(names[:number]), max_size=3))) if number else ()
        kind = draw(st.sampled_from((Kind.CODE, Kind.CODE, Kind.APPROVAL, Kind.SWITCH)))
        guards[name] = draw(st.integers(0, 9)) > 0
        common = {
            "id": name, "deps": deps, "trigger_rule": draw(st.sampled_from(Rule)),
            "when": None if guards[name] else (lambda _: False),
        }  # fmt: skip
        if kind is Kind.SWITCH:
            later = sorted(free & set(names[number + 1 :]))
            targets = draw(st.lists(st.sampled_from(later), max_size=4, unique=True)) if later else []
            free -= set(targets)
            cuts = [tuple(targets[place::3]) for place in range(3)]
            first, second = draw(st.booleans()), draw(st.booleans())
            has_default = draw(st.booleans())
            choices[name] = "one" if first else "two" if second else "default" if has_default else ""
            steps.append(
                Step(
                    **common,
                    kind=kind,
                    default=Default(cuts[2]) if has_default else None,
                    cases=(Case("one", lambda _, it=first: it, cuts[0]), Case("two", lambda _, it=second: it, cuts[1])),
                )
            )
            continue
        retries = draw(st.integers(0, 2))
        outcomes[name] = [draw(st.sampled_from(ENDS)) for _ in range(retries + 1)]
        steps.append(
            Step(
                **common,
                kind=kind,
                batch=draw(st.sampled_from((None, "a", "b"))),
                max_retries=retries,
                retry_on=draw(st.sampled_from((("timed_out",), ("timed_out", "failed"), ()))),
                do=(lambda _: None) if kind is Kind.CODE else None,
                prompt="?" if kind is Kind.APPROVAL else None,
            )
        )
    order = draw(st.permutations(steps))
    flow = Flow("random", order, batches=batches, max_concurrent=draw(st.integers(1, 4)))
    return Plan(flow, outcomes, guards, choices)
