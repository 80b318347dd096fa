"""The tool ask_user: a question to the person. Silence is no answer."""

from typing import Annotated, Any, Final

from msgspec import Meta

from ..exceptions import InvalidArguments
from .contract import ToolAnswer, ToolContext
from .function import tool
from .schema import check_schema

TIMEOUT_S: Final = 7 * 24 * 3600.0
"""Longer than anybody waits: how long a person may take is decided where the question is kept."""

NO_ANSWER: Final = (
    "No answer: nobody answered in time. Do not guess one; go on without it, or say what you would need to know."
)


# Idempotent: the question's id follows from the call, so that after a restart the same question goes on.
@tool(effects=(), idempotent=True, timeout_s=TIMEOUT_S)
async def ask_user(
    context: ToolContext,
    prompt: Annotated[str, Meta(min_length=1, description="The question, in whole sentences.")],
    schema: Annotated[
        dict[str, Any] | None,
        Meta(description="JSON Schema of an object, shown as a form; the answer is then JSON text."),
    ] = None,
) -> ToolAnswer:
    """Asks the person who started the run and returns the answer. Ask only what you cannot find out yourself."""
    if schema is not None:
        try:
            check_schema(schema)
        except ValueError as error:
            raise InvalidArguments(f"schema cannot be shown as a form: {error}.") from error
    answer = await context.ask(prompt, schema)
    return ToolAnswer(content=NO_ANSWER, is_error=True) if answer is None else ToolAnswer(content=answer)
