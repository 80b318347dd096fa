"""Profiles a table: what is in it, what is worth asking, what the data says to that, a report."""

import json

meta = {
    "name": "data-profile",
    "description": "Profiles a CSV file or a frame: columns, questions worth asking, each checked against the data, a report",
    "phases": [
        {"title": "Profile", "detail": "columns, kinds, what is missing"},
        {"title": "Ask", "detail": "questions that the data may answer"},
        {"title": "Check", "detail": "each looked up in the data"},
        {"title": "Report"},
    ],
    "args": {
        "type": "object",
        "properties": {
            "path": {"type": "string", "minLength": 1, "description": "A CSV file, relative to the workspace"},
            "profile": {
                "type": "string",
                "minLength": 1,
                "description": "A frame as text, as ja.profile(frame) gives it, in place of a file or beside it",
            },
            "question": {"type": "string", "description": "What one wants to know of it"},
            "questions": {"type": "integer", "minimum": 1, "maximum": 12, "description": "How many; default 4"},
            "compute": {
                "type": "boolean",
                "description": "Compute in a kernel too; a person approves each cell. Default: only read",
            },
        },
        "anyOf": [{"required": ["path"]}, {"required": ["profile"]}],
        "additionalProperties": False,
    },
}

TEXT = {"type": "string"}


def shape(**fields):
    """The JSON Schema of an object with exactly these fields."""
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def items(kind, most):
    return {"type": "array", "items": kind, "maxItems": most}


COLUMN = shape(name=TEXT, kind=TEXT, missing=TEXT, range=TEXT, note=TEXT)
PROFILE = shape(rows=TEXT, is_whole={"type": "boolean"}, columns=items(COLUMN, 100), remarks=items(TEXT, 12))
QUESTIONS = shape(questions={**items(shape(question=TEXT, why=TEXT, how=TEXT), 12), "minItems": 1})
ANSWER = shape(
    verdict={"enum": ["cannot tell", "yes", "no", "partly"]}, answer=TEXT, evidence=TEXT, caveat=TEXT
)  # fmt: skip

path = args.get("path")
tools = []
if path:
    tools = ["read_file", "search_files"] + (["run_cell"] if args.get("compute", False) else [])
named = f"`{path}`" if path else "the frame"
wish = f"\n\nWhat the person wants to know: {args['question']}" if args.get("question") else ""
ways = (
    "Compute with pandas in a cell where reading does not do: small cells, one matter each, that print what they find."
    if "run_cell" in tools
    else "You can only read: count what you see, and never give a figure for what you did not."
)

# %%
phase("Profile")
if args.get("profile"):
    profile = args["profile"]
else:
    read = await agent(
        f"""Profile the table in {named}. Read its beginning, then stretches from its middle and its end.
{ways}

`rows` is how many there are, or how many you saw of how many; `is_whole` whether you saw all of them. For each column: `name`;
`kind` (what it means and how it is written: "date, ISO", "price in euros, text with a comma"); `missing` (how many, and
how they are written); `range` (lowest and highest, or the values where they are few); `note` for what a reader has to
know before using it, empty where there is nothing. `remarks` are about the table as a whole: doubled rows, mixed kinds, shifted columns,
an order, what one row stands for.""",
        label="profile",
        schema=PROFILE,
        tools=tools,
        retries=1,
    )
    profile = json.dumps(read)
    log(f"{len(read['columns'])} columns, rows: {read['rows']}")

# %%
phase("Ask")
count = args.get("questions", 4)
asked = await agent(
    f"""This is what is known of {named}:

{profile}{wish}

Which questions are worth asking of this data? At most {count}, the most useful first; if the person wants to know something, the
first ones are what that comes down to. A good question has an answer that somebody would act on, can be answered from these
columns, and could come out either way. At least one asks whether the data can be trusted: what would mislead whoever
uses it without looking.

`why` says what hangs on it, `how` which columns and which comparison answer it.""",
    label="ask",
    schema=QUESTIONS,
    tools=[],
    retries=1,
)
questions = asked["questions"][:count]
for one in questions:
    log(one["question"])

# %%
phase("Check")
answers = await parallel(
    [
        agent(
            f"""Answer one question from {named}: {one["question"]}

How it may be answered: {one["how"]}

What is known of the data:
{profile}

{ways if path else "You have nothing but this profile: no figure that is not in it or follows from it."}
Try to show that the obvious answer is wrong: few rows, a third column behind both, missing values that are not missing by chance.

`verdict` on the question as it stands; `answer` in two sentences; `evidence` has the figures or rows that it rests on, and
where they are from; `caveat` what it does not show. "cannot tell" is a good answer where it is true.""",
            label=f"check: {one['question'][:60]}",
            schema=ANSWER,
            tools=tools,
            retries=1,
        )
        for one in questions
    ]
)
failed = [one["question"] for one, answer in zip(questions, answers) if answer is None]
found = [{"question": one["question"], **answer} for one, answer in zip(questions, answers) if answer is not None]

# %%
phase("Report")
report = await agent(
    f"""Write a report on {named} for whoever will work with this data.{wish}

What is known of it:
{profile}

What was asked, and what the data says:
{json.dumps(found)}

{f"Could not be looked into: {'; '.join(failed)}" if failed else ""}

Begin with what the data is and what one row stands for, in two sentences. Then what to mind before using it: missing values,
doubtful columns, traps. Then the answers, the most important first, each with its figures and its caveat. End with what
to look into next. Markdown, no title; use a table where it says more than sentences. No figure that does not stand above.""",
    label="report",
    tools=[],
    retries=1,
)

{"report": report, "profile": profile, "answers": found, "failed": failed}
