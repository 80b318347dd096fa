"""Tokens as other logs count them, made ours: the input counts all of a prompt, cached or not (see `records.Usage`).

Who reports tells by its names whether cached tokens are a part of the input (OpenAI, OpenTelemetry) or stand beside it
(Anthropic, Inspect). Where a total is reported too it decides, and cached tokens that are more than the input cannot
be a part of it. So with reasoning and output.
"""

from typing import Any, NamedTuple

from ..records import Usage
from .look import count, first, number, obj


class Counted(NamedTuple):
    """Tokens as somebody reported them. None where nothing was said."""

    input: int | None
    output: int | None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    total: int | None = None
    cost: float | None = None
    cached_is_inside: bool = True


def read(said: Any) -> Usage | None:
    """Returns the usage of one model call from any of the shapes that providers report, None where there is none."""
    reported = obj(said)
    if "prompt_tokens" in reported or "completion_tokens" in reported:
        return settled(_openai(reported))
    if "input_tokens_cache_read" in reported or "input_tokens_cache_write" in reported:
        return settled(_inspect(reported))
    if "input_tokens" in reported or "output_tokens" in reported:
        return settled(_messages(reported))
    return None


def _openai(said: dict[str, Any]) -> Counted:
    """OpenAI's chat completions, and LiteLLM, which adds Anthropic's names to them."""
    of_prompt, of_answer = obj(said.get("prompt_tokens_details")), obj(said.get("completion_tokens_details"))
    return Counted(
        input=count(said.get("prompt_tokens")),
        output=count(said.get("completion_tokens")),
        cache_read=first(
            count(of_prompt.get("cached_tokens")),
            count(said.get("cache_read_input_tokens")),
            count(said.get("cache_read_tokens")),
            count(said.get("prompt_cache_hit_tokens")),
        ),
        cache_write=first(
            count(said.get("cache_creation_input_tokens")),
            count(said.get("cache_write_tokens")),
            count(of_prompt.get("cache_creation_tokens")),
            count(of_prompt.get("cache_write_tokens")),
        ),
        reasoning=first(count(of_answer.get("reasoning_tokens")), count(said.get("reasoning_tokens"))),
        total=count(said.get("total_tokens")),
        cost=number(said.get("cost")),
    )


def _messages(said: dict[str, Any]) -> Counted:
    """Anthropic's messages, with cached tokens beside the input, and OpenAI's responses, with them inside."""
    of_input, of_output = obj(said.get("input_tokens_details")), obj(said.get("output_tokens_details"))
    return Counted(
        input=count(said.get("input_tokens")),
        output=count(said.get("output_tokens")),
        cache_read=first(count(said.get("cache_read_input_tokens")), count(of_input.get("cached_tokens"))),
        cache_write=first(count(said.get("cache_creation_input_tokens")), count(of_input.get("cache_write_tokens"))),
        reasoning=first(count(of_output.get("reasoning_tokens")), count(said.get("reasoning_tokens"))),
        total=count(said.get("total_tokens")),
        cost=first(number(said.get("cost")), number(said.get("total_cost"))),
        cached_is_inside=not {"cache_read_input_tokens", "cache_creation_input_tokens"} & said.keys(),
    )


def _inspect(said: dict[str, Any]) -> Counted:
    return Counted(
        input=count(said.get("input_tokens")),
        output=count(said.get("output_tokens")),
        cache_read=count(said.get("input_tokens_cache_read")),
        cache_write=count(said.get("input_tokens_cache_write")),
        reasoning=count(said.get("reasoning_tokens")),
        total=count(said.get("total_tokens")),
        cost=number(said.get("total_cost")),
        cached_is_inside=False,
    )


def settled(counted: Counted) -> Usage | None:
    """Returns it as our usage of one request; None where no tokens and no cost were reported."""
    if counted.input is None and counted.output is None and counted.cost is None:
        return None
    given, answered = counted.input or 0, counted.output or 0
    cache_read, cache_write = counted.cache_read or 0, counted.cache_write or 0
    reasoning = counted.reasoning or 0
    cached = cache_read + cache_write
    inside = counted.cached_is_inside
    if cached and counted.total:
        if counted.total == given + answered:
            inside = True
        elif counted.total in (given + cached + answered, given + cached + answered + reasoning):
            inside = False
    if cached > given:
        inside = False
    if not inside:
        given += cached
    if reasoning > answered or (reasoning and counted.total == given + answered + reasoning):
        answered += reasoning
    return Usage(
        input_tokens=given,
        output_tokens=answered,
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write,
        reasoning_tokens=reasoning,
        requests=1,
        unmeasured_requests=int(counted.input is None and counted.output is None),
        cost=counted.cost,
    )
