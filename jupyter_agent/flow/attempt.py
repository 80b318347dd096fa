"""One attempt of one step, carried out: whatever happens to it is a way in which it ended."""

import asyncio
import inspect
from typing import Any, Final

import msgspec

from ..records import clean
from .agents import Agents, Clock
from .context import Context
from .decisions import Ended
from .state import StepStatus
from .step import Kind, Step

STOP_S: Final = 1.0
"""How long work that was told to stop is waited for."""


async def attempt(step: Step, ctx: Context, *, key: str, agents: Agents, clock: Clock, limit_s: float | None) -> Ended:
    """Carries a step out and returns how it ended, after `limit_s` seconds as timed out. Raises CancelledError only."""
    if step.kind is Kind.APPROVAL:
        await (clock.sleep(limit_s) if limit_s is not None else asyncio.Event().wait())
        return Ended(StepStatus.TIMED_OUT, error=f"Nobody decided within {step.limit_s:g} s.")
    work = asyncio.ensure_future(_work(step, ctx, key, agents))
    timer = asyncio.ensure_future(clock.sleep(limit_s if limit_s is not None else 0.0))
    try:
        await asyncio.wait({work, timer}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        return Ended(StepStatus.TIMED_OUT, error=f"It took longer than its {limit_s:g} s.")
    finally:
        timer.cancel()
        work.cancel()
        await asyncio.wait({work, timer}, timeout=STOP_S)


async def _work(step: Step, ctx: Context, key: str, agents: Agents) -> Ended:
    try:
        return Ended(StepStatus.COMPLETED, output=plain(step.id, await _result(step, ctx, key, agents)))
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return Ended(StepStatus.CANCELLED, error="What it waited for was cancelled.")
    except Exception as fault:  # noqa: BLE001 - a step may raise what it likes: it failed
        return Ended(StepStatus.FAILED, error=clean(f"{type(fault).__name__}: {fault}"))


async def _result(step: Step, ctx: Context, key: str, agents: Agents) -> Any:
    if step.kind is Kind.AGENT:
        prompt = step.prompt(ctx) if callable(step.prompt) else step.prompt
        return await agents.agent(prompt or "", key=key, options=step.options)
    assert step.do is not None, "a checked flow"  # noqa: S101
    if inspect.iscoroutinefunction(step.do):
        return await step.do(ctx)
    found = await asyncio.to_thread(step.do, ctx)
    return await found if inspect.isawaitable(found) else found


def plain(name: str, value: Any) -> Any:
    """Returns a value as it is kept. Raises TypeError for one that is no plain data."""
    try:
        return clean(msgspec.json.decode(msgspec.json.encode(value)))
    except (TypeError, ValueError, msgspec.MsgspecError) as fault:
        raise TypeError(f"{name} gave a {type(value).__name__}, which cannot be kept: return plain data.") from fault
