"""Makes a tool of a typed Python function."""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from ..exceptions import InvalidArguments
from ..records import Effect, ToolSpec, clean
from .contract import Environment, Tool, ToolAnswer, ToolContext
from .schema import Signature, signature_of

T = TypeVar("T")
Preview = Callable[[Environment, dict[str, Any]], dict[str, Any]]


def tool(
    *,
    effects: tuple[Effect, ...] = (Effect.READ,),
    idempotent: bool = False,
    sequential: bool = False,
    timeout_s: float = 120.0,
    output_cap: int = 32_768,
    preview: Preview | None = None,
) -> Callable[[Callable[..., Any]], Tool]:
    """Returns a decorator that makes a Tool of a function.

    Name, docstring and annotations tell the model what it does; a parameter annotated ToolContext gets the context.
    A plain function works in a thread, an `async` one in the loop. It returns text, a ToolAnswer, or anything that
    JSON can say. Raises TypeError where the signature has types that JSON lacks.
    """

    def decorate(function: Callable[..., Any]) -> Tool:
        signature = signature_of(function)
        spec = ToolSpec(
            name=signature.name,
            description=signature.description,
            parameters=signature.parameters,
            effects=effects,
            idempotent=idempotent,
            sequential=sequential,
            timeout_s=timeout_s,
            output_cap=output_cap,
        )
        return Tool(spec=spec, call=_caller(function, signature), preview=preview)

    return decorate


def _caller(
    function: Callable[..., Any], signature: Signature
) -> Callable[[ToolContext, dict[str, Any]], Awaitable[ToolAnswer]]:
    async def call(context: ToolContext, arguments: dict[str, Any]) -> ToolAnswer:
        given = _typed(signature, arguments)
        if signature.context is not None:
            given[signature.context] = context
        if inspect.iscoroutinefunction(function):
            return answer_of(await function(**given))
        return answer_of(await asyncio.to_thread(function, **given))

    return call


def _typed(signature: Signature, arguments: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments in the parameters' own types, defaults filled in."""
    try:
        # Lax only in how numbers may be written (5.0 for 5): everything else the JSON Schema has checked before.
        struct = msgspec.convert(arguments, signature.arguments, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidArguments(f"The arguments of {signature.name} do not fit: {error}. Correct the call.") from error
    return {name: getattr(struct, name) for name in signature.arguments.__struct_fields__}


def answer_of(value: Any) -> ToolAnswer:
    """Returns what a function gave back as the answer that a model reads."""
    if isinstance(value, ToolAnswer):
        return value
    if value is None:
        return ToolAnswer(content="Done.")
    return ToolAnswer(
        content=clean(value) if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
    )


async def off_loop(work: Callable[[threading.Event], T]) -> T:
    """Does blocking work in a thread. Cancelling sets the event, which the work looks at between its steps."""
    stop = threading.Event()
    try:
        return await asyncio.to_thread(work, stop)
    finally:
        stop.set()
