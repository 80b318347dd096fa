"""Reviews code: one reviewer an aspect, a sceptic behind each, and one report, worst first."""

import json

meta = {
    "name": "review-code",
    "description": "Reviews a file or folder: a reviewer an aspect, each finding checked by a sceptic, one report",
    "phases": [
        {"title": "Read", "detail": "what the code is for, and which files matter"},
        {"title": "Review", "detail": "one reviewer an aspect; a sceptic looks up what each found"},
        {"title": "Merge", "detail": "one report, worst first"},
    ],
    "args": {
        "type": "object",
        "properties": {
            "path": {"type": "string", "minLength": 1, "description": "File or folder, relative to the workspace"},
            "aspects": {
                "type": "array",
                "minItems": 1,
                "maxItems": 8,
                "items": {"type": "string", "minLength": 1, "maxLength": 200},
                "description": "What to review for; default: correctness, security, clarity",
            },
            "context": {"type": "string", "description": "What reviewers should know: the change, a rule of the house"},
        },
        "required": ["path"],
        "additionalProperties": False,
    },
}

ASPECTS = {
    "correctness": "wrong results, unhandled cases, errors that are swallowed, races, resources that are not released, "
    "and promises of names or docstrings that the code does not keep",
    "security": "input that reaches a shell, a query, a path or a page unchecked, secrets in code or logs, missing "
    "checks of who may do what, unsafe defaults",
    "clarity": "what a newcomer would misread: misleading names, dead or doubled code, functions that do several "
    "things, comments that are no longer true",
}
LEVELS = ["low", "medium", "high", "critical"]
TOOLS = ["list_files", "read_file", "search_files"]
TEXT = {"type": "string"}


def shape(**fields):
    """The JSON Schema of an object with exactly these fields."""
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def items(kind, most):
    return {"type": "array", "items": kind, "maxItems": most}


FINDING = shape(
    title=TEXT, file=TEXT, line={"type": "integer", "minimum": 0}, severity={"enum": LEVELS}, why=TEXT, fix=TEXT
)
VERDICT = shape(number={"type": "integer"}, real={"type": "boolean"}, severity={"enum": LEVELS}, reason=TEXT)

path = args["path"]
aspects = args.get("aspects", list(ASPECTS))
context = f"\n\nWhat the author says about it:\n{args['context']}" if args.get("context") else ""

# %%
phase("Read")
overview = await agent(
    f"""Read the code at `{path}` so that others can review it.

If it is a folder, list it first and choose the files that carry the weight, at most twelve; leave out what is generated
or vendored. Read each of them whole, or its decisive parts where it is long.{context}

Say in `purpose` what this code is for and how its parts work together, in at most 150 words: facts that you read, no
judgement. In `files` give the path of each file that is worth reviewing, and in one sentence what it does.""",
    label="read",
    schema=shape(purpose=TEXT, files=items(shape(path=TEXT, does=TEXT), 12)),
    tools=TOOLS,
    retries=1,
)
files = "\n".join([f"- `{one['path']}`: {one['does']}" for one in overview["files"]]) or f"- `{path}`"
log(f"{len(overview['files'])} files to review for {', '.join(aspects)}")

# %%
phase("Review")


def review(aspect, _item, _index):
    """One reviewer's own look, without knowing of the others."""
    look_for = f": {ASPECTS[aspect]}" if aspect in ASPECTS else ""
    return agent(
        f"""Review this code for one aspect alone: {aspect}{look_for}.

What the code is for:
{overview["purpose"]}

The files:
{files}{context}

Read them yourself, and whatever they lean on, before you judge. Report a problem only if you can name the line and say
what goes wrong for whom, when. No praise, no matters of taste, nothing about other aspects. An empty list is a good answer,
fifteen are the most: the worst first.

Each finding: `title` in at most twelve words; `file` and `line` (from 1) of the line to change; `severity` (critical:
data loss, a hole or a wrong result in ordinary use; high: the same in rare but real use; medium: it will cost somebody
time; low: worth knowing); `why` with the input or sequence that shows it; `fix` as the smallest change that would do.""",
        label=f"review: {aspect}",
        schema=shape(findings=items(FINDING, 15)),
        tools=TOOLS,
        retries=1,
    )


async def check(found, aspect, _index):
    """A sceptic's verdicts on what a reviewer found. Without them the findings stand, marked as unchecked."""
    found = [{**one, "aspect": aspect, "checked": False} for one in found["findings"]]
    if not found:
        return found
    listed = json.dumps([{"number": number, **one} for number, one in enumerate(found)])
    try:
        verdicts = await agent(
            f"""A reviewer looked at this code for {aspect} and reported what follows. You are the sceptic: reviewers report
things that are not so. Open the file of each finding at its line, read what is around it and who calls it, and try to
show that the finding is wrong.

{listed}

For each `number`: `real` is true only if you saw in the code that it happens as described; `severity` as you would
set it; `reason` in one sentence, with what you saw. Add no findings of your own.""",
            label=f"check: {aspect}",
            schema=shape(verdicts=items(VERDICT, 15)),
            tools=TOOLS,
            retries=1,
        )
    except Exception as fault:
        log(f"Findings on {aspect} could not be checked: {fault}")
        return found
    for verdict in verdicts["verdicts"]:
        if 0 <= verdict["number"] < len(found):
            one = found[verdict["number"]]
            found[verdict["number"]] = {
                **one, "checked": True, "real": verdict["real"], "severity": verdict["severity"], "reason": verdict["reason"],
            }  # fmt: skip
    return found


reviews = await pipeline(aspects, review, check)
failed = [aspect for aspect, found in zip(aspects, reviews) if found is None]
if len(failed) == len(aspects):
    raise RuntimeError("No reviewer answered: there is nothing to report. What each ran into is in the log.")

# %%
phase("Merge")
found = [one for each in reviews if each for one in each]
kept = [one for one in found if one.get("real", True)]
kept.sort(key=lambda one: -LEVELS.index(one["severity"]))
merged = {}
for one in kept:
    place = f"{one['file']}:{one['line']}" if one["line"] else f"{one['file']}:{one['title'].lower()}"
    if place in merged:
        merged[place]["also"].append(f"{one['aspect']}: {one['title']}")
    else:
        merged[place] = {**one, "also": []}
findings = list(merged.values())
log(f"{len(findings)} findings, {len(found) - len(kept)} rejected by a sceptic")

lines = [f"# Review of {path}", "", overview["purpose"], ""]
if failed:
    lines += [f"**Not reviewed for {', '.join(failed)}**: the reviewer failed.", ""]
if not findings:
    lines += [f"Nothing was found in {', '.join([one for one in aspects if one not in failed])}."]
for number, one in enumerate(findings, 1):
    lines += [
        f"## {number}. {one['title']}", "",
        f"**{one['severity']}** · {one['aspect']} · `{one['file']}`" + (f", line {one['line']}" if one["line"] else "")
        + ("" if one["checked"] else " · not checked by a second reader"),
        "", one["why"], "", f"Fix: {one['fix']}", "",
    ]  # fmt: skip
    if one["also"]:
        lines += [f"Also here: {'; '.join(one['also'])}", ""]

{
    "report": "\n".join(lines).strip(),
    "findings": findings,
    "rejected": [one for one in found if not one.get("real", True)],
    "failed": failed,
    "files": [one["path"] for one in overview["files"]],
}
