"""Forecasts: their intervals hold as many futures as they say, and nothing is known where nothing was."""

import random

import pytest

from jupyter_agent.workflow.forecast import COVERED, forecast


def test_nothing_is_forecast_from_nothing():
    assert forecast({}) is None
    assert forecast({(): 3}) is None
    assert forecast({(5.0,): 0}) is None


def test_the_same_past_has_the_same_forecast():
    wanted = {(100.0, 140.0, 90.0): 3, (2_000.0,): 1}
    assert forecast(wanted, seed="a") == forecast(wanted, seed="a")
    told = forecast(wanted, seed="a")
    assert told.low < told.expected < told.high
    assert told.expected == pytest.approx(3 * 110 + 2_000)


def test_more_past_makes_it_narrower_and_free_calls_stay_free():
    few, many = forecast({(100.0,): 1}), forecast({tuple(100.0 + n % 7 for n in range(40)): 1})
    assert many.high / many.low < few.high / few.low
    free = forecast({(0.0, 0.0): 5})
    assert (free.low, free.expected, free.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("past", [2, 4, 12])
@pytest.mark.parametrize("calls", [1, 6, 40])
@pytest.mark.parametrize("spread", [0.15, 0.6])
def test_the_interval_holds_nine_in_ten_futures(past, calls, spread):
    """Calls that take lognormal amounts, as prompts of one kind do; two kinds at once."""
    chance = random.Random(f"{past} {calls} {spread}")

    def took(centre, count):
        return tuple(chance.lognormvariate(centre, spread) for _ in range(count))

    rounds, held = 150, 0
    for number in range(rounds):
        small, large = took(5.0, past), took(7.5, past)
        told = forecast({small: calls, large: 2}, seed=str(number))
        future = sum(took(5.0, calls)) + sum(took(7.5, 2))
        held += told.low <= future <= told.high
    assert held / rounds >= COVERED - 0.08, held
