"""The tools of runs that no model carries out: whoever is asked takes as long as they like."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from .ask_user import ask_user
from .contract import Tool
from .function import tool
from .registry import Toolbox

FOREVER_S: Final = 100 * 365 * 86_400.0
"""How long people are waited for where nothing but their word goes on."""


@tool(effects=(), idempotent=True)
async def gate(
    title: Annotated[str, Meta(min_length=1, description="What is to be decided.")],  # noqa: ARG001 - people read it
    detail: Annotated[str, Meta(description="What they should know to decide it.")] = "",  # noqa: ARG001
) -> str:
    """Asks a person whether a workflow may go on. That they approve this call is the answer."""
    return "Approved."


def people_toolbox() -> Toolbox:
    """Returns the tools that ask people."""
    patient = msgspec.structs.replace(ask_user.spec, timeout_s=FOREVER_S)
    return Toolbox([Tool(spec=patient, call=ask_user.call), gate])
