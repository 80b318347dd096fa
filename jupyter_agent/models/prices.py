"""What a model call costs, by the price list that genai-prices ships: offline, and to be overridden by configuration.

A model whose price is unknown costs None, never 0: so do the offline models, which nobody pays.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct

from ..exceptions import InvalidRequest
from ..records import Usage

PRICED_AS = {"google-gla": "google", "openai-chat": "openai", "openai-responses": "openai"}
"""Providers that the price list knows by another name."""

UNPRICED = ("replay", "echo")
"""What looks like a provider and is a model with a setting."""

MILLION = 1_000_000


class Price(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """US dollars for a million tokens. Cached input costs as other input where it has no price of its own."""

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None

    def cost(self, usage: Usage) -> float:
        plain = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens
        read = self.input if self.cache_read is None else self.cache_read
        write = self.input if self.cache_write is None else self.cache_write
        dollars = (
            max(0, plain) * self.input
            + usage.cache_read_tokens * read
            + usage.cache_write_tokens * write
            + usage.output_tokens * self.output
        )
        return dollars / MILLION


class Prices:
    """Prices by model name. `overrides` map `provider:model` to a `Price` or its fields. Raises InvalidRequest."""

    def __init__(self, overrides: Mapping[str, Price | Mapping[str, Any]] | None = None) -> None:
        self._overrides = {name: _price(name, entry) for name, entry in (overrides or {}).items()}

    def cost(self, model_name: str, usage: Usage) -> float | None:
        """Returns US dollars, or None where the price or the number of tokens is unknown.

        `model_name` is `provider:model`. The first call loads the price list, which takes half a second.
        """
        if usage.unmeasured_requests:
            return None
        if (price := self._overrides.get(model_name)) is not None:
            return price.cost(usage)
        provider, colon, model = model_name.partition(":")
        if not colon or provider in UNPRICED:
            return None
        return _listed_cost(PRICED_AS.get(provider, provider), model, usage)

    def needs_list(self, model_name: str) -> bool:
        """Tells whether the price list is asked about this model: the others are priced at once."""
        provider, colon, _ = model_name.partition(":")
        return model_name not in self._overrides and bool(colon) and provider not in UNPRICED


def context_window(model_name: str) -> int | None:
    """Returns how many tokens the model takes in by the price list, None where that is unknown."""
    from genai_prices.data_snapshot import get_snapshot

    provider, _, model = model_name.partition(":")
    try:
        _, info = get_snapshot().find_provider_model(model, None, PRICED_AS.get(provider, provider), None)
    except LookupError:
        return None
    return info.context_window


def _listed_cost(provider: str, model: str, usage: Usage) -> float | None:
    import genai_prices

    try:
        counted = genai_prices.Usage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cache_read_tokens,
            cache_write_tokens=usage.cache_write_tokens,
        )
        total: Decimal = genai_prices.calc_price(counted, model, provider_id=provider).total_price
    except (LookupError, ValueError):
        return None
    return float(total)


def _price(name: str, entry: Price | Mapping[str, Any]) -> Price:
    if isinstance(entry, Price):
        return entry
    try:
        price = msgspec.convert(dict(entry), Price)
    except msgspec.ValidationError as fault:
        raise InvalidRequest(
            f"The configured price of {name!r} is wrong: {fault}. Give `input` and `output` in US dollars per million "
            "tokens, and `cache_read` and `cache_write` if they differ."
        ) from None
    if any(value is not None and value < 0 for value in msgspec.structs.astuple(price)):
        raise InvalidRequest(f"The configured price of {name!r} is negative: prices are 0 or more.")
    return price
