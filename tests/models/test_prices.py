"""Prices: listed, overridden, or unknown, which is None and never 0."""

import pytest

from jupyter_agent.exceptions import InvalidRequest
from jupyter_agent.models.prices import Price, Prices, context_window
from jupyter_agent.records import Usage

MILLION = Usage(input_tokens=1_000_000, output_tokens=1_000_000, requests=1)


@pytest.mark.parametrize(
    "name", ["openai:gpt-4o", "openai-chat:gpt-4o", "anthropic:claude-3-5-haiku-latest", "google-gla:gemini-2.5-flash"]
)
def test_a_listed_model_costs_something_and_cached_tokens_cost_less(name):
    prices = Prices()
    full = prices.cost(name, MILLION)
    cached = prices.cost(name, Usage(input_tokens=1_000_000, cache_read_tokens=900_000, output_tokens=1_000_000))
    assert full is not None
    assert cached is not None
    assert 0 < cached < full


@pytest.mark.parametrize(
    "name", ["demo", "echo", "echo:64", "scripted", "replay:run_1", "openai:no-such-model", "mine:gpt-4o", ""]
)
def test_an_unknown_price_is_none_and_never_zero(name):
    assert Prices().cost(name, MILLION) is None


def test_unknown_tokens_cost_an_unknown_sum():
    assert Prices().cost("openai:gpt-4o", Usage(requests=1, unmeasured_requests=1)) is None


def test_a_configured_price_goes_before_the_list_and_counts_each_kind_of_token():
    prices = Prices({"mine:small": {"input": 10, "output": 100, "cache_read": 1, "cache_write": 20}})
    usage = Usage(input_tokens=1_000, cache_read_tokens=500, cache_write_tokens=100, output_tokens=10, requests=1)
    assert prices.cost("mine:small", usage) == pytest.approx((400 * 10 + 500 * 1 + 100 * 20 + 10 * 100) / 1e6)
    assert Prices({"demo": Price(input=0, output=0)}).cost("demo", MILLION) == 0.0
    plain = Prices({"mine:small": Price(input=10, output=0)})
    assert plain.cost("mine:small", usage) == pytest.approx(0.01), (
        "cached tokens cost as others without their own price"
    )


@pytest.mark.parametrize(
    "entry", [{}, {"input": 1}, {"input": "x", "output": 1}, {"input": 1, "output": -1}, {"in": 1}]
)
def test_a_wrong_price_names_its_model(entry):
    with pytest.raises(InvalidRequest, match="mine:small"):
        Prices({"mine:small": entry})


def test_the_window_of_a_listed_model():
    window = context_window("openai:gpt-4o")
    assert window is None or window > 10_000
    assert context_window("mine:small") is None
