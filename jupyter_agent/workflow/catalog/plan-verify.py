"""Makes a plan and has it torn apart until it holds: planners, one draft, verifiers, revisions."""

import json

meta = {
    "name": "plan-verify",
    "description": "Plans a piece of work: several proposals, one plan, verified from several sides and revised",
    "phases": [
        {"title": "Propose", "detail": "planners with different aims"},
        {"title": "Draft", "detail": "one plan from the best of them"},
        {"title": "Verify", "detail": "verifiers look for what would go wrong; the plan is revised"},
    ],
    "args": {
        "type": "object",
        "properties": {
            "task": {"type": "string", "minLength": 3, "description": "What is to be done"},
            "path": {"type": "string", "description": "Where the material is; default: the whole workspace"},
            "max_revisions": {"type": "integer", "minimum": 0, "maximum": 6, "description": "Default 2"},
            "gate": {"type": "boolean", "description": "Ask a person to approve the plan at the end"},
        },
        "required": ["task"],
        "additionalProperties": False,
    },
}

AIMS = {
    "simplest": "the fewest steps that do it; leave out all that nobody asked for",
    "safest": "each step can be checked and undone; what could break is met first",
    "thorough": "nothing that the task implies is left to chance: tests, documents, users, data that is there already",
}
SIDES = {
    "facts": "Does what the plan names exist, and is it as the plan says? Open each file, function, column or setting "
    "that a step relies on.",
    "order": "Walk through the steps in order, as somebody who has only the plan. Where would you be stuck, do work "
    "twice, or need what a later step makes?",
    "completeness": "Read the task again, word by word. What does it ask for, or plainly imply, that no step does? What do "
    "the checks not notice?",
}
TOOLS = ["list_files", "read_file", "search_files"]
TEXT = {"type": "string"}
MOST_SHOWN = 30_000


def shape(**fields):
    """The JSON Schema of an object with exactly these fields."""
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def items(kind, most):
    return {"type": "array", "items": kind, "maxItems": most}


STEP = shape(title=TEXT, what=TEXT, check=TEXT)
PLAN = shape(summary=TEXT, steps={**items(STEP, 20), "minItems": 1}, risks=items(TEXT, 8))
VERDICT = shape(
    holds={"type": "boolean"}, problems=items(shape(step={"type": "integer", "minimum": 0}, problem=TEXT, fix=TEXT), 10)
)

task = args["task"].strip()
if not task:
    raise ValueError("The task is empty: say what is to be done.")
title = task.splitlines()[0][:100]
where = args.get("path", ".")
max_revisions = args.get("max_revisions", 2)

# %%
phase("Propose")
proposals = await parallel(
    [
        agent(
            f"""Plan this piece of work; the material is at `{where}`:

{task}

Look at what is there before you plan. Your aim: {aim}.

`summary` says in three sentences how it will be done and why so. Each step has a `title`, `what` is done (with the names of the
files, functions or data it touches) in at most 80 words, and a `check` that shows that it worked: a command, a test,
something to look at. At most 20 steps. `risks` are what could turn out otherwise, and what then, at most eight. Plan only;
change nothing.""",
            label=f"propose: {name}",
            schema=PLAN,
            tools=TOOLS,
            retries=1,
        )
        for name, aim in AIMS.items()
    ]
)
offered = {name: plan for name, plan in zip(AIMS, proposals) if plan is not None}
if not offered:
    raise RuntimeError("No planner answered: there is no plan. What each ran into is in the log.")

# %%
phase("Draft")
if len(offered) == 1:
    plan = list(offered.values())[0]
else:
    plan = await agent(
        f"""Several people planned the same piece of work, each with an aim of their own:

{task}

{json.dumps(offered)}

Make one plan of them. Take the one whose approach is soundest as the trunk, and from the others what it lacks. Where they
contradict each other, look at `{where}` and decide; do not keep both. No step without a check, no step that another one
contains.""",
        label="draft",
        schema=PLAN,
        tools=TOOLS,
        retries=1,
    )


# %%
def verify(plan, name, round_number):
    return agent(
        f"""A plan for this piece of work is about to be carried out by somebody who will follow it to the letter:

{task}

{json.dumps(plan)}

You verify it from one side: {SIDES[name]} The material is at `{where}`.

`problems` are what would go wrong, at most ten, the worst first, each with the `step` (from 1, 0 for the plan as a whole) and
the smallest `fix`. What you would merely do otherwise is no problem. `holds` is true if the plan can be carried out as it is;
if it is false, at least one problem says why.""",
        label=f"verify {round_number}: {name}",
        schema=VERDICT,
        tools=TOOLS,
        retries=1,
    )


phase("Verify")
revisions = 0
while True:
    verdicts = await parallel([verify(plan, name, revisions + 1) for name in SIDES])
    unverified = [name for name, verdict in zip(SIDES, verdicts) if verdict is None]
    problems = [
        {"side": name, **problem}
        for name, verdict in zip(SIDES, verdicts)
        if verdict is not None and not verdict["holds"]
        for problem in verdict["problems"]
    ]
    objected = [name for name, verdict in zip(SIDES, verdicts) if verdict is not None and not verdict["holds"]]
    log(f"Plan {revisions + 1}: {len(problems)} problems from {', '.join(objected) or 'nobody'}")
    if not problems or revisions == max_revisions:
        break
    revisions += 1
    plan = await agent(
        f"""This plan was verified before it is carried out:

{task}

{json.dumps(plan)}

These problems were found:
{json.dumps(problems)}

Look at each at `{where}`. Revise the plan so that those that are so are gone; leave the rest of it as it is. Where a problem is none, keep
the step and say in `risks` why.""",
        label=f"revise {revisions}",
        schema=PLAN,
        tools=TOOLS,
        retries=1,
    )
is_verified = not objected and not unverified

# %%
lines = [f"# Plan: {title}", "", plan["summary"], ""]
for number, step in enumerate(plan["steps"], 1):
    lines += [f"{number}. **{step['title']}**: {step['what']}", f"   Check: {step['check']}"]
if plan["risks"]:
    lines += ["", "## Risks", ""] + [f"- {risk}" for risk in plan["risks"]]
if problems:
    lines += ["", "## Still open", ""] + [f"- Step {one['step']} ({one['side']}): {one['problem']}" for one in problems]
unexplained = [name for name in objected if name not in [one["side"] for one in problems]]
if unexplained:
    lines += ["", f"It does not hold for {', '.join(unexplained)}, and the verifier did not say why."]
if unverified:
    lines += ["", f"Not verified for {', '.join(unverified)}: the verifier failed."]
report = "\n".join(lines)

approved = None
if args.get("gate", False):
    # A person is shown so much at once; the report has the rest.
    shown = report if len(report) <= MOST_SHOWN else f"{report[:MOST_SHOWN]}\n\n… It is longer than can be shown here."
    approved = await gate(f"Carry this plan out? {title}", shown)
    report += "\n\nA person approved it." if approved else "\n\n**A person did not approve it.**"

{
    "report": report,
    "plan": plan,
    "verified": is_verified,
    "revisions": revisions,
    "problems": problems,
    "unverified": unverified,
    "approved": approved,
}
