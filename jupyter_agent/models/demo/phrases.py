"""Sentences that the demo model says in more than one place."""

from collections.abc import Iterable

from ..answer import Answer
from .conversation import Step

PLOT = r"plot|chart|draw|graph|visuali|diagram|figure|histogram"
"""What a task that wants a picture says."""

SELF = "I am `demo`, the offline stand-in of jupyter_agent: a set of rules, not a language model."


def counted(number: int, noun: str) -> str:
    """Returns "1 file", "3 files"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def joined(names: Iterable[str], *, most: int = 8) -> str:
    """Returns "`a`, `b` and `c`", and how many more there are."""
    shown = [f"`{name}`" for name in names]
    if len(shown) > most:
        shown = [*shown[:most], f"{len(shown) - most} more"]
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " and " + shown[-1] if shown else "nothing"


def closing(step: Step) -> str:
    """Returns the line below an answer that says whose words these are and where the facts come from."""
    source = "what the cell printed" if step.name == "run_cell" else "the text of the files"
    return f"*{SELF} The numbers are from {source}.*"


def refused(step: Step, way: str) -> Answer:
    """Returns the answer to a call that a person or a policy refused."""
    return Answer(
        thinking="The call was not approved. I do not try it again in other words.",
        text=f"`{step.name}` was not approved, so **nothing was run or changed**.\n\n"
        f"> {' '.join(step.content.split())[:300]}\n\n{way}",
    )


def failed(step: Step) -> Answer:
    """Returns the answer to a call that went wrong, in the tool's own words."""
    message = " ".join(step.content.split())[:500] or "It gave no reason."
    return Answer(
        thinking=f"{step.name} reports an error. I say so rather than guess what it would have given.",
        text=f"That did not work: `{step.name}` reported an error.\n\n> {message}\n\n"
        "Correct what it names and ask again, or ask *help* to see what I can do.",
    )
