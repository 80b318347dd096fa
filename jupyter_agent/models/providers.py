"""Models of providers over the network, behind our protocol; the provider libraries are loaded when one is first used.

Loading them takes seconds, so it happens in a thread, at the first request and not when a model is looked up.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import Struct

from .contract import ModelRequest, Piece

if TYPE_CHECKING:
    from .adapter import Adapter

Kind = Literal["openai-chat", "openai-responses", "anthropic", "google"]
"""The languages that providers speak."""

CACHE_LIVES_S: Final[Mapping[str, float]] = {
    "anthropic": 300.0,
    "openai-chat": 24 * 3600.0,
    "openai-responses": 24 * 3600.0,
}
"""After how long without use nothing of a prompt is left in a provider's cache, as it documents: Anthropic's default
life; the longest retention at OpenAI, which drops most far earlier. Google names no time for its implicit cache."""


class Provider(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the models of one provider are, as the server's configuration says it.

    `api_key_env` names the environment variable with the key, None: no key is sent. `models` are those that lists show,
    `models_only` refuses all others. `timeout_s` bounds each silence of the provider, not the whole answer.
    `context_max` is in tokens, for models that the price list does not know.
    """

    base_url: str
    kind: Kind = "openai-chat"
    api_key_env: str | None = None
    models: tuple[str, ...] = ()
    models_only: bool = False
    timeout_s: float = 600.0
    context_max: int | None = None


class ProviderModel:
    """A language model over the network. `official` says that the address is the provider's own, not configured."""

    sees_images = True

    def __init__(self, name: str, provider: Provider, *, key: str | None, official: bool) -> None:
        self.name = name
        self.provider = provider
        self.official = official
        self._key = key
        self._adapter: Adapter | None = None
        self._opening = asyncio.Lock()

    @property
    def tools_first(self) -> bool:
        """Anthropic documents it so; of others it is not known."""
        return self.provider.kind == "anthropic"

    @property
    def context_max(self) -> int | None:
        """The window in tokens: as configured, else as the price list says once the model was used, else None."""
        return self.provider.context_max or (self._adapter.context_max if self._adapter else None)

    def cache_life_s(self, settings: Mapping[str, Any]) -> float | None:
        """Returns what the provider documents; None for one at a configured address, who keeps what it likes."""
        if not self.official or settings.get("cache", True) is False:
            return None
        return CACHE_LIVES_S.get(self.provider.kind)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Piece, None]:
        """Streams the answer to one request. Closing the iterator closes the connection."""
        adapter = await self._open()
        async with aclosing(adapter.stream(request)) as pieces:
            async for piece in pieces:
                yield piece

    async def close(self) -> None:
        """Closes idle and busy connections."""
        async with self._opening:
            adapter, self._adapter = self._adapter, None
        if adapter is not None:
            await adapter.close()

    async def _open(self) -> "Adapter":
        async with self._opening:
            if self._adapter is None:
                self._adapter = await asyncio.to_thread(self._load)
            return self._adapter

    def _load(self) -> "Adapter":
        from .adapter import Adapter

        return Adapter(self.name, self.provider, key=self._key, official=self.official)
