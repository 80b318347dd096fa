"""Answers a question from many files, each claim looked up at its source before it is used."""

import json
import re

meta = {
    "name": "deep-research",
    "description": "Answers a question from many files: researchers, each claim checked at its source, a cited report",
    "phases": [
        {"title": "Plan", "detail": "the question in parts"},
        {"title": "Search", "detail": "a researcher a part; a sceptic looks up what each claims"},
        {"title": "Follow up", "detail": "what is still open"},
        {"title": "Write", "detail": "a report from what held"},
    ],
    "args": {
        "type": "object",
        "properties": {
            "question": {"type": "string", "minLength": 3, "description": "What is to be found out"},
            "path": {"type": "string", "description": "Folder or file to look in; default: the whole workspace"},
            "rounds": {"type": "integer", "minimum": 1, "maximum": 4, "description": "Rounds of search; default 2"},
            "tools": {
                "type": "array",
                "items": {"type": "string"},
                "minItems": 1,
                "description": "Names of the tools to search with; default: those that read the workspace",
            },
        },
        "required": ["question"],
        "additionalProperties": False,
    },
}

TEXT = {"type": "string"}


def shape(**fields):
    """The JSON Schema of an object with exactly these fields."""
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def items(kind, most):
    return {"type": "array", "items": kind, "maxItems": most}


PART = shape(question=TEXT, look_for=items(TEXT, 6))
FOUND = shape(claims=items(shape(claim=TEXT, source=TEXT, quote=TEXT), 12), open=items(TEXT, 5))
VERDICTS = shape(verdicts=items(shape(number={"type": "integer"}, holds={"type": "boolean"}, note=TEXT), 12))

question = args["question"].strip()
if not question:
    raise ValueError("The question is empty: say what is to be found out.")
where = args.get("path", ".")
tools = args.get("tools", ["list_files", "read_file", "search_files"])
rounds = args.get("rounds", 2)

# %%
phase("Plan")
plan = await agent(
    f"""Plan how to answer this question from the material at `{where}`:

{question}

Look around first: what is there, what is each part about, in which words does it speak of the matter. Then divide the
question into two to six parts that can be answered separately and together answer it; fewer if it is simple. A part is a
question that has an answer, not a topic. Include one that would show the expected answer to be wrong.

For each part `look_for` has up to six words or names to search for, as they stand in the material.""",
    label="plan",
    schema=shape(parts={**items(PART, 6), "minItems": 1}),
    tools=tools,
    retries=1,
)
parts = plan["parts"]
for part in parts:
    log(part["question"])


# %%
def research(part, _item, _index):
    wanted = ", ".join([f"`{word}`" for word in part["look_for"]]) or "whatever the question names"
    return agent(
        f"""Find out from the material at `{where}`: {part["question"]}

Search for {wanted}, and for what you learn on the way. Open what you find and read around it: the sentence before and
after often turns the meaning.

It is a part of this question: {question}

`claims` are what the material says, one fact each, in your own words so that it stands alone; `source` is the place (a
file's path with its line, or whatever a tool names), `quote` the words there, exactly. Nothing that you know from
elsewhere, nothing that you conclude. If sources disagree, give both. At most twelve, those first on which the answer hangs.
`open` has what you looked for and did not find.""",
        label=f"search: {part['question'][:60]}",
        schema=FOUND,
        tools=tools,
        retries=1,
    )


async def check(found, part, _index):
    """What a sceptic says to each claim. Without the sceptic claims stay, marked as unchecked."""
    claims = [{**one, "part": part["question"], "checked": False, "holds": True, "note": ""} for one in found["claims"]]
    if claims:
        listed = json.dumps([{"number": number, **one} for number, one in enumerate(found["claims"])])
        try:
            answer = await agent(
                f"""Somebody who looked into "{part["question"]}" claims what follows. Open the source of each claim and read the
place. You are the sceptic: look for what was misread, left out or made up.

{listed}

For each `number`: `holds` is true only if the source says so, in its context and in full; `note` has what is different
or missing where it does not, and is empty otherwise.""",
                label=f"check: {part['question'][:60]}",
                schema=VERDICTS,
                tools=tools,
                retries=1,
            )
            for verdict in answer["verdicts"]:
                if 0 <= verdict["number"] < len(claims):
                    one = claims[verdict["number"]]
                    claims[verdict["number"]] = {
                        **one, "checked": True, "holds": verdict["holds"], "note": verdict["note"],
                    }  # fmt: skip
        except Exception as fault:
            log(f"Claims on {part['question']!r} could not be checked: {fault}")
    return {"claims": claims, "open": found["open"]}


claims = []
gaps = []
failed = []
done = 0
while parts and done < rounds:
    done += 1
    phase("Search" if done == 1 else "Follow up")
    found = await pipeline(parts, research, check)
    failed += [part["question"] for part, one in zip(parts, found) if one is None]
    claims += [claim for one in found if one for claim in one["claims"]]
    gaps = [gap for one in found if one for gap in one["open"]]
    if done == 1 and len(failed) == len(parts):
        raise RuntimeError("No researcher answered: there is nothing to report. What each ran into is in the log.")
    parts = []
    if done < rounds:
        phase("Follow up")
        held = "\n".join([f"- {one['claim']}" for one in claims if one["holds"]]) or "Nothing."
        unanswered = "\n".join([f"- {gap}" for gap in gaps + failed]) or "Nothing."
        try:
            more = await agent(
                f"""The question: {question}

What was found and held:
{held}

What was looked for and not found:
{unanswered}

Is there anything that would change or complete the answer and could still be found at `{where}`? Give at most three further
parts, each a question with words to search for that were not tried. Give none if the question is answered, or if
searching again would only repeat: an empty list ends the search.""",
                label=f"follow up {done}",
                schema=shape(parts=items(PART, 3)),
                tools=[],
                retries=1,
            )
            parts = more["parts"]
        except Exception as fault:
            log(f"It is not known what is still open: {fault}")

# %%
phase("Write")
held = [one for one in claims if one["holds"]]
sources = list(dict.fromkeys([one["source"] for one in held]))
numbered = "\n".join([
    f"[{sources.index(one['source']) + 1}] {one['claim']} (words there: {one['quote']!r})"
    + ("" if one["checked"] else " (not checked by a second reader)")
    for one in held
])  # fmt: skip
report = await agent(
    f"""Write the answer to this question, for somebody who will act on it:

{question}

Use these findings and nothing else. The number in brackets is the source; put it behind every sentence that rests on it:
{numbered or "Nothing was found."}

Not found:
{chr(10).join([f"- {gap}" for gap in gaps + failed]) or "Everything that was looked for was found."}

Begin with the answer in two or three sentences. Then what it rests on, grouped by what matters to the reader, not by
source. Where findings disagree, say so and which weighs more, and why. End with what remains open. Markdown, no title, as
short as the matter allows. If the findings do not answer the question, say that first.""",
    label="write",
    tools=[],
    retries=1,
)
cited = {int(number) for number in re.findall(r"\[(\d{1,4})\]", report)}
unknown = sorted([number for number in cited if not 1 <= number <= len(sources)])
if unknown:
    log(f"The report names sources that there are not: {unknown}")
listed = "\n".join([f"{number}. {source}" for number, source in enumerate(sources, 1)])

{
    "report": f"{report}\n\n## Sources\n\n{listed}" if sources else report,
    "sources": sources,
    "claims": held,
    "rejected": [one for one in claims if not one["holds"]],
    "open": gaps,
    "failed": failed,
    "unknown_sources": unknown,
    "rounds": done,
}
