"""Looks for issues round after round, until two rounds in a row bring nothing new."""

import json
import re

meta = {
    "name": "find-issues",
    "description": "Finders look from different sides, sceptics confirm; ends after two rounds with nothing new",
    "phases": [
        {"title": "Find", "detail": "rounds of finders, each told what is known"},
        {"title": "Confirm", "detail": "a sceptic a new issue"},
    ],
    "args": {
        "type": "object",
        "properties": {
            "path": {"type": "string", "description": "File or folder to look through; default: the whole workspace"},
            "what": {"type": "string", "description": "Which issues are wanted; default: bugs"},
            "finders": {"type": "integer", "minimum": 1, "maximum": 6, "description": "Finders a round; default 3"},
            "max_rounds": {"type": "integer", "minimum": 1, "maximum": 20, "description": "Rounds at most; default 6"},
        },
        "additionalProperties": False,
    },
}

SIDES = [
    "Go through the files one after the other, from the largest, and read each line as if it were wrong.",
    "Follow the data: from each place where something comes in (arguments, files, network, time) to where it is used.",
    "Look at the edges: empty, one, very many, negative, missing, twice, at the same time, interrupted in the middle.",
    "Compare what is promised (names, docstrings, README, tests) with what the code does.",
    "Look at what happens when something fails: who notices, what is left half done, what is swallowed.",
    "Look at the seams: what one part assumes about another, and whether that holds on the other side.",
]
LEVELS = ["low", "medium", "high", "critical"]
TOOLS = ["list_files", "read_file", "search_files"]
TEXT = {"type": "string"}
DRY_ROUNDS = 2


def shape(**fields):
    """The JSON Schema of an object with exactly these fields."""
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


ISSUE = shape(title=TEXT, file=TEXT, line={"type": "integer", "minimum": 0}, severity={"enum": LEVELS}, why=TEXT)
FOUND = shape(issues={"type": "array", "items": ISSUE, "maxItems": 10})
VERDICT = shape(real={"type": "boolean"}, severity={"enum": LEVELS}, reason=TEXT)

path = args.get("path", ".")
what = args.get("what", "bugs: places where the code does something else than it should")
finders = args.get("finders", 3)
max_rounds = args.get("max_rounds", 6)


def words_of(issue):
    return {word for word in re.findall(r"[a-z0-9_]{3,}", issue["title"].lower())}


def is_known(issue, known):
    """Whether it is one of these, said otherwise: about the same lines, or in most of the same words."""
    for one in known:
        if one["file"] != issue["file"]:
            continue
        if issue["line"] and one["line"] and abs(issue["line"] - one["line"]) <= 2:
            return True
        mine, its = words_of(issue), words_of(one)
        if mine and its and len(mine & its) * 2 >= len(mine | its):
            return True
    return False


# %%
confirmed = []
rejected = []
unchecked = []
rounds = 0
dry = 0
stopped = f"after {max_rounds} rounds, the most that were allowed"


def find(number, side):
    """A finder that knows what was found, and looks from one side."""
    seen = [f"- {one['file']}:{one['line']} {one['title']}" for one in confirmed + rejected + unchecked]
    known = "\n".join(seen[-200:]) or "Nothing yet."
    return agent(
        f"""Look in `{path}` for issues of this kind: {what}.

{side}

Already known, whether real or rejected; do not report these again, in whatever words:
{known}

Read the code before you report, and report only what you could show to somebody who doubts it. Each issue: `title` in at
most twelve words; `file` and `line` (from 1, 0 where it is about a whole file); `severity` (critical: data loss, a hole or a
wrong result in ordinary use; high: the same in rare but real use; medium: it will cost somebody time; low: worth knowing);
`why` with what happens, when, to whom. At most ten, the worst first. This is round {number}: the easy ones are gone. If you find nothing new, return an empty list: that is a
result, and the search ends on it.""",
        label=f"find {number}: {SIDES.index(side) + 1}",
        schema=FOUND,
        tools=TOOLS,
        retries=1,
    )


def confirm(issue):
    return agent(
        f"""Somebody reported this issue. You are the sceptic: try to show that it is none.

{json.dumps(issue)}

Open `{issue["file"]}`, read the place and what is around it, and who uses it. Ask what would have to be true for the issue to
happen, and whether it can be. `real` is true only if you saw that it happens as described; `severity` as you would set it;
`reason` in one sentence, with what you saw.""",
        label=f"confirm: {issue['title'][:60]}",
        schema=VERDICT,
        tools=TOOLS,
        retries=1,
    )


while rounds < max_rounds:
    rounds += 1
    phase("Find")
    sides = [SIDES[(rounds - 1 + number) % len(SIDES)] for number in range(finders)]
    answers = await parallel([find(rounds, side) for side in sides])
    if not [one for one in answers if one is not None]:
        stopped = f"in round {rounds}, in which every finder failed"
        break
    new = []
    for answer in answers:
        for issue in answer["issues"] if answer else []:
            if not is_known(issue, confirmed + rejected + unchecked + new):
                new.append(issue)
    dry = 0 if new else dry + 1
    log(f"Round {rounds}: {len(new)} new")
    if new:
        phase("Confirm")
        verdicts = await parallel([confirm(issue) for issue in new])
        for issue, verdict in zip(new, verdicts):
            if verdict is None:
                unchecked.append(issue)
            elif verdict["real"]:
                confirmed.append({**issue, "severity": verdict["severity"], "reason": verdict["reason"]})
            else:
                rejected.append({**issue, "reason": verdict["reason"]})
    if dry == DRY_ROUNDS:
        stopped = f"after {DRY_ROUNDS} rounds in a row without anything new"
        break
if rounds and not confirmed and not rejected and not unchecked and stopped.startswith("in round"):
    raise RuntimeError("No finder answered: there is nothing to report. What each ran into is in the log.")

# %%
confirmed.sort(key=lambda one: -LEVELS.index(one["severity"]))
lines = [f"# Issues in {path}", "", f"Looked for {what}. Ended {stopped}.", ""]
for number, one in enumerate(confirmed, 1):
    place = f"`{one['file']}`" + (f", line {one['line']}" if one["line"] else "")
    lines += [
        f"## {number}. {one['title']}",
        "",
        f"**{one['severity']}** · {place}",
        "",
        one["why"],
        "",
        one["reason"],
        "",
    ]
if not confirmed:
    lines += ["No issue was confirmed.", ""]
if unchecked:
    lines += ["## Not checked", ""] + [f"- {one['title']} (`{one['file']}`)" for one in unchecked]

{
    "report": "\n".join(lines).strip(),
    "issues": confirmed,
    "rejected": rejected,
    "unchecked": unchecked,
    "rounds": rounds,
    "stopped": stopped,
}
