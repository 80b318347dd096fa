"""What a model is to the loop: a request goes in, a stream of parts comes out, and closing the stream closes the
connection.

Rules of every implementation:

- The stream ends with exactly one `Finished`, or raises a ModelError. A provider's stream that just stops raises
  StreamCut.
- No retries inside: the loop owns them. No part is yielded before the provider said it.
- Closing the iterator (or cancelling the task in it) closes the provider's connection at once.
- Tool arguments are the model's own text.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol

from msgspec import Struct

from ..records import Message, ToolSpec, Usage


class ModelRequest(Struct, frozen=True, kw_only=True):
    """One model call. `turn` counts the complete answers that this run has had (0 for the first); `images` maps blob
    keys that messages name to their bytes; `run_id` and `thread_id` are for models that keep something per run
    (demo's cache, replay)."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    instructions: str = ""
    turn: int = 0
    run_id: str = ""
    thread_id: str = ""
    images: Mapping[str, bytes] = {}
    max_tokens: int | None = None
    settings: Mapping[str, Any] = {}


class TextPiece(Struct, frozen=True):
    content: str


class ThinkingPiece(Struct, frozen=True):
    """Reasoning as it streams; `signature` comes with the last piece where a provider signs it."""

    content: str
    signature: str | None = None


class CallStarted(Struct, frozen=True):
    """A tool call begins. `index` tells parallel calls apart within the turn; `provider_id` is the provider's id for
    it."""

    index: int
    name: str
    arguments: str = ""
    provider_id: str | None = None


class CallPiece(Struct, frozen=True):
    index: int
    arguments: str


class CallEnded(Struct, frozen=True):
    index: int


class UsageSoFar(Struct, frozen=True):
    usage: Usage


class Finished(Struct, frozen=True, kw_only=True):
    """The closing word. `stop_reason` is one of stop, tool_calls, length, content_filter; `usage` is final, with
    `unmeasured_requests=1` where the provider reported none; `model` is what the provider says answered."""

    stop_reason: str
    usage: Usage
    model: str | None = None


Piece = TextPiece | ThinkingPiece | CallStarted | CallPiece | CallEnded | UsageSoFar | Finished


class Model(Protocol):
    """A language model. `name` is what users write (`provider:model`); `context_max` is its window in tokens, None if
    unknown."""

    @property
    def name(self) -> str: ...

    @property
    def context_max(self) -> int | None: ...

    @property
    def sees_images(self) -> bool: ...

    @property
    def tools_first(self) -> bool:
        """Whether the provider puts the tools before the instructions: its cache reads a prompt from the beginning."""

    def cache_life_s(self, settings: Mapping[str, Any]) -> float | None:
        """Returns how long the provider keeps a prompt in its cache that is not sent again, at most; None where that
        is not known, or there is no cache. `settings` are those of the request."""

    def stream(self, request: ModelRequest) -> AsyncGenerator[Piece, None]:
        """Streams the answer to one request. Raises ModelError."""


class ModelInfo(Struct, frozen=True, kw_only=True, rename="camel"):
    """A line of the list of models: never a key. `ready` is False where a key is missing; `advice` says what to do
    then."""

    name: str
    provider: str
    description: str
    offline: bool
    ready: bool
    advice: str | None = None


class Models(Protocol):
    """The models of a server, by name."""

    @property
    def default(self) -> str: ...

    def get(self, name: str, *, script: Any = None) -> Model:
        """Returns the model. Raises UnknownModel naming the closest ones, BadCredentials where a key is missing."""

    def list(self) -> list[ModelInfo]: ...
