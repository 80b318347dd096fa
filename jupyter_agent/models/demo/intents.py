"""Which of the demo model's rules a task falls under, tried from the top."""

from collections.abc import Callable

from ..answer import Answer
from ..form import schema_in
from . import files, kernel, people
from .conversation import Conversation
from .form import fill_in, from_what_is_given
from .missing import find_missing
from .phrases import PLOT, failed, refused

GIVEN_CHARS = 400
"""A task without tools that is longer than this brings along what it is about."""
ROUNDS_MOST = 7
"""After this many rounds the demo model stops calling tools, whatever came back."""

Plan = Callable[[Conversation], Answer]

INTENTS: tuple[tuple[str, Callable[[Conversation], bool], Plan], ...] = (
    ("sum up the thread", lambda talk: not talk.tools and talk.says("^summarise everything above"), people.recall),
    ("pass on what is given", lambda talk: not talk.tools and len(talk.task) > GIVEN_CHARS, from_what_is_given),
    ("call a named tool", lambda talk: people.named_tool(talk) is not None, people.call_named_tool),
    ("look at an image", lambda talk: bool(talk.images), people.describe_images),
    # The description of a frame that follows tells of missing values too.
    ("summarise a frame", lambda talk: talk.says(r"^\s*(summari[sz]e|describe)\b.{0,40}\bframe\b"), kernel.summarise),
    (
        "missing values",
        lambda talk: talk.says(r"missing|\bnulls?\b|\bnans?\b|empty (values|cells|fields)"),
        find_missing,
    ),
    ("ask me", lambda talk: talk.says(r"\bask (me|the user|us)\b"), people.ask),
    ("run code", lambda talk: kernel.code_in(talk) is not None, kernel.run_code),
    (
        "write a file",
        lambda talk: (
            talk.says(r"\b(write|create|save|make|add)\b.{0,80}\b(file|note|script)\b")
            or (talk.says(r"\b(write|create|save|make)\b") and bool(talk.files()))
        ),
        files.write_file,
    ),
    ("plot", lambda talk: talk.says(PLOT), kernel.plot_columns),
    (
        "summarise",
        lambda talk: talk.says(r"summari[sz]e|describe|overview|profile|statistics|data ?frame"),
        kernel.summarise,
    ),
    ("count", lambda talk: talk.says(r"how many|\bcount\b|number of"), files.count),
    ("search", lambda talk: talk.says(r"\b(search|find|grep|look for|where is|mentions?|contains?)\b"), files.search),
    (
        "read",
        lambda talk: bool(talk.files()) and talk.says(r"\b(read|show|open|print|cat|display|see|in)\b"),
        files.read,
    ),
    (
        "list",
        lambda talk: talk.says(r"\b(list|ls|dir)\b|(what|which|show|tell).{0,40}\b(files?|folders?|here|notebooks?)\b"),
        files.list_all,
    ),
    ("greet or help", lambda _: True, people.introduce),
)


def answer_to(talk: Conversation) -> Answer:
    """Returns the next answer of this run. It calls only tools that are offered, and none after ROUNDS_MOST rounds."""
    if (schema := schema_in(talk.request.instructions)) is not None:
        return fill_in(talk, schema)
    if talk.rounds >= ROUNDS_MOST or (talk.rounds and not talk.tools):
        return people.sum_up(talk)
    plan = next(plan for _, matches, plan in INTENTS if matches(talk))
    if plan is not find_missing and (fault := next((step for step in talk.last if step.is_error), None)):
        return refused(fault, "Ask for another way, or approve it next time.") if fault.was_refused else failed(fault)
    answer = plan(talk)
    if all(call.name in talk.tools for call in answer.calls):
        return answer
    return people.lacking(talk, answer)
