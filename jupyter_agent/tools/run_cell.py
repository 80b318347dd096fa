"""The tool run_cell: Python in the notebook's own kernel, with the same trust as a shell."""

from typing import Annotated, Any, Final

from msgspec import Meta

from ..exceptions import InvalidArguments
from ..records import Effect
from .contract import Environment, ToolAnswer, ToolContext
from .function import tool
from .visible import text_preview

TIMEOUT_S: Final = 600.0
GRACE_S: Final = 10.0
"""What the environment has to interrupt the kernel and to say so itself, before its caller loses patience."""


def _preview(_environment: Environment, arguments: dict[str, Any]) -> dict[str, Any]:
    return text_preview("code", str(arguments.get("code", "")))


@tool(effects=(Effect.EXEC,), sequential=True, timeout_s=TIMEOUT_S + GRACE_S, preview=_preview)
async def run_cell(
    context: ToolContext,
    code: Annotated[str, Meta(min_length=1, description="Python, as it would stand in a notebook cell.")],
) -> ToolAnswer:
    """Executes Python in the notebook's kernel and returns what it prints, its last value and its pictures.

    Variables stay between calls and are shared with the notebook.
    """
    if not code.strip():
        raise InvalidArguments("code is empty: write the Python to execute.")
    return await context.environment.run_cell(code, context=context, timeout_s=TIMEOUT_S)
