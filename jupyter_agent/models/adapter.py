"""One provider's model over pydantic-ai's direct API: requests go out, its events come back as our pieces.

Loaded late, for the libraries below it take seconds. Rules: no retries here (the loop owns them), no redirects (they
would carry the key to another host), no credentials but the one given, and closing the iterator closes the connection.
"""

import json
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from contextvars import ContextVar
from typing import Any, cast
from urllib.parse import urlsplit

import httpx2
from pydantic_ai import messages as pa
from pydantic_ai.direct import model_request_stream
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.profiles import ModelProfile, merge_profile
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.usage import RequestUsage

from ..exceptions import InvalidModelAnswer
from ..records import Usage
from .contract import (
    CallEnded,
    CallPiece,
    CallStarted,
    Finished,
    ModelRequest,
    Piece,
    TextPiece,
    ThinkingPiece,
    UsageSoFar,
)
from .faults import FaultReader
from .history import pydantic_messages, seal
from .prices import context_window
from .providers import Provider

NO_KEY = "no-key"
"""What libraries that insist on a key are given where none is to be sent."""

CONNECT_S = 10.0

MADE_UP_ID = "pyd_ai_"
"""How ids begin that the library gives to calls of providers that give none."""

_responses: ContextVar[list[httpx2.Response] | None] = ContextVar("responses", default=None)
"""Where the responses are noted that come while a stream is being opened."""

USER_SETTINGS = frozenset(
    {"temperature", "top_p", "seed", "stop_sequences", "thinking", "parallel_tool_calls", "presence_penalty",
     "frequency_penalty"}
)  # fmt: skip
"""Settings that a request may bring along. Others could name hosts, headers or bodies, and are left out."""


async def _note_response(response: httpx2.Response) -> None:
    if (noted := _responses.get()) is not None:
        noted.append(response)


class Adapter:
    """A connected model."""

    def __init__(self, name: str, provider: Provider, *, key: str | None, official: bool) -> None:
        self._provider_name, _, self._model_name = name.partition(":")
        self._provider = provider
        self._faults = FaultReader(
            name, key=key, key_variable=provider.api_key_env, host=urlsplit(provider.base_url).hostname or "?"
        )
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(provider.timeout_s, connect=min(CONNECT_S, provider.timeout_s)),
            follow_redirects=False,
            event_hooks={"response": [_note_response]},
        )
        self._model = _connect(
            self._provider_name, self._model_name, provider, key=key, official=official, http=self._http
        )
        self.context_max = context_window(name)

    async def close(self) -> None:
        await self._http.aclose()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Piece, None]:
        """Streams one answer. Raises ModelError."""
        pieces = Pieces(ends_early=self._provider.kind in ("anthropic", "google"))
        responses: list[httpx2.Response] = []
        try:
            answer = model_request_stream(
                self._model,
                pydantic_messages(request, provider=self._provider_name, system=self._model.system),
                model_settings=self._settings(request),
                model_request_parameters=ModelRequestParameters(function_tools=_tools(request)),
                instrument=False,
            )
            async with AsyncExitStack() as stack:
                token = _responses.set(responses)
                try:
                    stream = await stack.enter_async_context(answer)
                finally:
                    _responses.reset(token)
                async for event in stream:
                    for piece in pieces.of(event):
                        yield piece
                    if (so_far := pieces.usage_news(stream.usage)) is not None:
                        yield so_far
                for piece in pieces.rest():
                    yield piece
                finished = self._finish(stream, pieces)
        except Exception as fault:  # noqa: BLE001 - a library may raise anything over a body that is nonsense
            began = any(response.is_success for response in responses)
            redirected = any(response.is_redirect for response in responses)
            raise self._faults.read(fault, began=began, redirected=redirected) from None
        finally:
            # Not every library closes a stream that was left in the middle, and an open one goes on costing money.
            for response in responses:
                await response.aclose()
        yield finished

    def _finish(self, stream: StreamedResponse, pieces: "Pieces") -> Finished:
        """Returns the closing word. Raises ModelRefused, StreamCut or InvalidModelAnswer where it is no good end."""
        details = stream.provider_details or {}
        if stream.finish_reason == "content_filter":
            raise self._faults.refusal(details.get("refusal") or details.get("block_reason"))
        if "finish_reason" not in details:
            raise self._faults.cut()
        if stream.finish_reason == "error":
            raise InvalidModelAnswer(
                f"{self._model_name} broke its answer off ({details['finish_reason']}). Try again."
            )
        if not pieces.began:
            raise InvalidModelAnswer(f"{self._model_name} sent an empty answer. Try again or say it in other words.")
        reason = "length" if stream.finish_reason == "length" else "tool_calls" if pieces.calls else "stop"
        return Finished(stop_reason=reason, usage=usage_of(stream.usage), model=stream.model_name)

    def _settings(self, request: ModelRequest) -> ModelSettings:
        chosen: dict[str, Any] = {
            name: value for name, value in request.settings.items() if name in USER_SETTINGS and value is not None
        }
        if request.max_tokens is not None:
            chosen["max_tokens"] = request.max_tokens
        chosen["max_retries"] = 0
        thinking = chosen.get("thinking")
        match self._provider.kind:
            case "anthropic":
                chosen["cache"] = request.settings.get("cache", True) is not False
            case "openai-responses" if thinking:
                chosen["openai_reasoning_summary"] = "auto"
            case "openai-chat" if isinstance(thinking, str):
                # The library drops `thinking` for models that it does not know, as those of other hosts are.
                chosen["openai_reasoning_effort"] = thinking
        return cast(ModelSettings, chosen)


class Pieces:
    """Turns the library's events into pieces; `ends_early` where calls come one after the other, never interleaved."""

    def __init__(self, *, ends_early: bool) -> None:
        self.began = False
        self._ends_early = ends_early
        self._calls: dict[int, int] = {}
        self._sent: dict[int, str] = {}
        self._open: set[int] = set()
        self._seals: list[ThinkingPiece] = []
        self._shown = (0, 0)

    @property
    def calls(self) -> int:
        return len(self._calls)

    def of(self, event: pa.ModelResponseStreamEvent) -> Iterator[Piece]:
        """Yields the pieces of one event; events that say nothing new yield none."""
        match event:
            case pa.PartStartEvent(index=index, part=part):
                yield from self._start(index, part)
            case pa.PartDeltaEvent(delta=pa.TextPartDelta(content_delta=content)) if content:
                self.began = True
                yield TextPiece(content)
            case pa.PartDeltaEvent(delta=pa.ThinkingPartDelta(content_delta=content)) if content:
                self.began = True
                yield ThinkingPiece(content)
            case pa.PartDeltaEvent(index=index, delta=pa.ToolCallPartDelta(args_delta=args)) if args:
                yield from self._grow(index, _arguments(args))
            case pa.PartEndEvent(index=index, part=part):
                yield from self._end(index, part)

    def rest(self) -> Iterator[Piece]:
        """Yields what closes an answer: the ends of calls that are open still, and seals of calls."""
        for place in sorted(self._open):
            yield CallEnded(place)
        self._open.clear()
        yield from self._seals

    def usage_news(self, usage: RequestUsage) -> UsageSoFar | None:
        """Returns the usage so far if the provider has said more of it since the last time."""
        now = (usage.input_tokens, usage.output_tokens)
        if now == self._shown or not any(now):
            return None
        self._shown = now
        return UsageSoFar(usage_of(usage))

    def _start(self, index: int, part: pa.ModelResponsePart) -> Iterator[Piece]:
        match part:
            case pa.TextPart(content=content) if content:
                self.began = True
                yield TextPiece(content)
            case pa.ThinkingPart(content=content) if content:
                self.began = True
                yield ThinkingPiece(content)
            case pa.ToolCallPart():
                arguments = _arguments(part.args)
                if index in self._calls:
                    yield from self._complete(index, arguments)
                    return
                self.began = True
                place = self._calls[index] = len(self._calls)
                self._open.add(place)
                self._sent[index] = arguments
                own_id = None if part.tool_call_id.startswith(MADE_UP_ID) else part.tool_call_id
                yield CallStarted(place, part.tool_name, arguments, own_id)

    def _grow(self, index: int, arguments: str) -> Iterator[Piece]:
        place = self._calls.get(index)
        if place is not None and place in self._open:
            self._sent[index] += arguments
            yield CallPiece(place, arguments)

    def _complete(self, index: int, arguments: str) -> Iterator[Piece]:
        """Yields what the whole arguments have more than was sent."""
        if arguments.startswith(self._sent[index]) and arguments != self._sent[index]:
            yield from self._grow(index, arguments[len(self._sent[index]) :])

    def _end(self, index: int, part: pa.ModelResponsePart) -> Iterator[Piece]:
        if isinstance(part, pa.ToolCallPart):
            place = self._calls.get(index)
            if place is None:
                return
            if (kept := seal(part, call=place)) is not None:
                self._seals.append(ThinkingPiece("", kept))
            if self._ends_early and place in self._open:
                yield from self._complete(index, _arguments(part.args))
                self._open.discard(place)
                yield CallEnded(place)
        elif isinstance(part, pa.ThinkingPart | pa.TextPart) and (kept := seal(part)) is not None:
            yield ThinkingPiece("", kept)


def usage_of(usage: RequestUsage) -> Usage:
    """Returns the usage of one call. Input tokens include cached ones; a provider that said nothing is unmeasured."""
    if usage.unmeasured_requests:
        return Usage(requests=1, unmeasured_requests=1)
    details = usage.details
    return Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        # DeepSeek and Moonshot name cache hits in places of their own, which the library leaves in the details.
        cache_read_tokens=usage.cache_read_tokens
        or details.get("prompt_cache_hit_tokens", 0)
        or details.get("cached_tokens", 0),
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.output_reasoning_tokens
        or details.get("reasoning_tokens", 0)
        or details.get("thoughts_tokens", 0),
        requests=1,
    )


def _arguments(args: str | Mapping[str, Any] | None) -> str:
    """Returns arguments as text: the model's own where it sent text."""
    if args is None or isinstance(args, str):
        return args or ""
    return json.dumps(args, ensure_ascii=False)


def _tools(request: ModelRequest) -> list[ToolDefinition]:
    return [
        ToolDefinition(name=tool.name, description=tool.description, parameters_json_schema=tool.parameters)
        for tool in request.tools
    ]


def _connect(
    provider_name: str,
    model_name: str,
    provider: Provider,
    *,
    key: str | None,
    official: bool,
    http: httpx2.AsyncClient,
) -> Model:
    """Returns the library's model, with the key given and with no other from the environment."""
    match provider.kind:
        case "anthropic":
            from anthropic import AsyncAnthropic
            from pydantic_ai.models.anthropic import AnthropicModel
            from pydantic_ai.providers.anthropic import AnthropicProvider

            # The library sends the key as a bearer token; servers of others may know the older header only.
            older = {} if official or key is None else {"x-api-key": key}
            anthropic = AsyncAnthropic(
                api_key=key or NO_KEY,
                base_url=provider.base_url,
                http_client=http,
                max_retries=0,
                default_headers=older,
            )
            return AnthropicModel(model_name, provider=AnthropicProvider(anthropic_client=anthropic))
        case "google":
            from pydantic_ai.models.google import GoogleModel
            from pydantic_ai.providers.google import GoogleProvider

            google = GoogleProvider(api_key=key or NO_KEY, base_url=provider.base_url, http_client=http)
            return GoogleModel(model_name, provider=google)
    from openai import AsyncOpenAI
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

    openai = AsyncOpenAI(api_key=key or NO_KEY, base_url=provider.base_url, http_client=http, max_retries=0)
    made = (
        OpenAIProvider(openai_client=openai)
        if official
        else OpenAICompatibleProvider(
            name=provider_name, openai_client=openai, profile=_compatible_profile(provider_name)
        )
    )
    if provider.kind == "openai-responses":
        return OpenAIResponsesModel(model_name, provider=made)
    return OpenAIChatModel(model_name, provider=made)


def _compatible_profile(provider_name: str) -> Callable[[str], ModelProfile | None]:
    """Returns what is known of an OpenAI-compatible provider's models, by its name."""
    from pydantic_ai.providers import infer_provider_class
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

    try:
        known = infer_provider_class(provider_name).model_profile
    except (ValueError, ImportError):
        known = OpenAICompatibleProvider.model_profile

    def profile(model_name: str) -> ModelProfile | None:
        # Servers of one's own rarely know the newer name of the limit, and all know the older one.
        return merge_profile(known(model_name), OpenAIModelProfile(openai_chat_supports_max_completion_tokens=False))

    return profile
