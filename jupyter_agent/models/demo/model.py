"""The demo model as the loop sees it: it works out its answer by rules and streams it at the pace of a person reading.

The answer is a pure function of the request, so that a run that is resumed after a restart goes on as if nothing had
happened. Only the usage has a memory: the simulated prompt cache.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, TypeGuard

from msgspec import structs

from ..answer import Answer, Pace, stream_call, stream_text, stream_thinking
from ..contract import Finished, ModelRequest, Piece
from ..prompt import estimate_tokens
from ..prompt_cache import LIFE_S, PromptCache
from .conversation import Conversation
from .intents import answer_to

WORD_DELAY_S = 0.03
THOUGHT_DELAY_S = 0.02
ARGUMENT_DELAY_S = 0.012
ARGUMENT_CHUNK = 16


class DemoModel:
    """Answers by rules. `pace` multiplies all delays: 1 is a person's reading speed, 0 is at once."""

    name = "demo"
    context_max: int | None = 128_000
    sees_images = True
    tools_first = False

    def __init__(self, *, pace: float = 1.0, cache: PromptCache | None = None) -> None:
        self._pace = pace
        self._cache = cache or PromptCache()

    def cache_life_s(self, settings: Mapping[str, Any]) -> float:
        """Returns the life of what the simulated cache keeps: five minutes, or `settings["cache_life_s"]`."""
        asked = settings.get("cache_life_s")
        return float(asked) if _is_number(asked) else LIFE_S

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Piece, None]:
        """Streams the answer: thinking, text, tool calls. `settings["pace"]` goes before the model's own pace."""
        usage = self._cache.measure(request, life_s=self.cache_life_s(request.settings))
        pace = _pace(request.settings.get("pace"), self._pace)
        answer = answer_to(Conversation(request))
        async for thought in stream_thinking(answer.thinking, Pace(delay_s=THOUGHT_DELAY_S * pace)):
            yield thought
        async for text in stream_text(answer.text, Pace(delay_s=WORD_DELAY_S * pace)):
            yield text
        for index, call in enumerate(answer.calls):
            async for piece in stream_call(
                call, Pace(chunk=ARGUMENT_CHUNK, delay_s=ARGUMENT_DELAY_S * pace), index=index
            ):
                yield piece
        yield Finished(
            stop_reason=answer.stop_reason,
            usage=structs.replace(
                usage, output_tokens=_output_tokens(answer), reasoning_tokens=estimate_tokens(answer.thinking)
            ),
            model=self.name,
        )


def _output_tokens(answer: Answer) -> int:
    texts = (answer.thinking, answer.text, *(call.name + call.arguments for call in answer.calls))
    return sum(estimate_tokens(text) for text in texts)


def _pace(asked: object, own: float) -> float:
    """Returns the factor on all delays: at most 20, and a setting that is no number of 0 or more counts for nothing."""
    return min(float(asked), 20.0) if _is_number(asked) else own


def _is_number(asked: object) -> TypeGuard[int | float]:
    return isinstance(asked, int | float) and not isinstance(asked, bool) and asked >= 0
