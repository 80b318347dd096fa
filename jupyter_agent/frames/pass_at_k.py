"""pass@k: how likely one of k runs of a task passes, from n runs of which c did."""

import json
from collections.abc import Callable, Iterable, Mapping
from math import comb
from typing import Any, Final

import pandas as pd

from ..exceptions import InvalidRequest
from ..records import TERMINAL

FEEDBACK: Final = "feedback"
NAMED: Final = 3

Passed = str | Callable[[Any], Any] | None


def estimate(n: int, c: int, k: int) -> float | None:
    """Returns the unbiased estimate 1 - C(n-c, k) / C(n, k) of the probability that one of k runs passes, when c of n
    did; None for k > n, where n runs say nothing of it.

    Chen et al. 2021, "Evaluating Large Language Models Trained on Code", arXiv:2107.03374, section 2.1.
    """
    if k > n:
        return None
    # Whole numbers until the last division: no product of many fractions loses digits.
    return 1 - comb(n - c, k) / comb(n, k)


def by_task(runs: pd.DataFrame, k: int | Iterable[int], by: str, passed: "pd.Series[Any]") -> pd.DataFrame:
    """Returns a row a task: `runs`, `passed`, and `pass@k` for each k. Raises InvalidRequest."""
    wanted = _checked_k(k)
    tasks = _tasks(runs, by)
    counted = pd.DataFrame({"runs": passed.groupby(tasks, observed=True, sort=True).size().astype("Int64")})
    counted["passed"] = passed.groupby(tasks, observed=True, sort=True).sum().astype("Int64")
    for number in wanted:
        found = [estimate(int(n), int(c), number) for n, c in zip(counted["runs"], counted["passed"], strict=True)]
        counted[f"pass@{number}"] = pd.array(found, dtype="Float64")
    counted.index.name = by
    return counted


def _checked_k(k: int | Iterable[int]) -> list[int]:
    said: Any = k
    wanted: list[Any] = list(said) if isinstance(said, Iterable) and not isinstance(said, str) else [said]
    for number in wanted:
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise InvalidRequest(f"k counts runs, from 1 on: {number!r} is no such number.")
    if not wanted:
        raise InvalidRequest("k names nothing: give a number, or several.")
    return list(dict.fromkeys(wanted))


def _tasks(runs: pd.DataFrame, by: str) -> "pd.Series[Any]":
    """Returns the task of each run: a column, or a key of the runs' metadata."""
    if by in runs.columns:
        found = runs[by]
    elif "metadata" in runs.columns:
        found = pd.Series([_key(said, by) for said in runs["metadata"]], index=runs.index, dtype=object)
        if found.isna().all() and len(found):
            raise InvalidRequest(
                f"The runs have no column {by!r}, and their metadata no such key. Columns: {', '.join(runs.columns)}."
            )
    else:
        raise InvalidRequest(f"The runs have no column {by!r}. They have: {', '.join(runs.columns)}.")
    if found.isna().any():
        raise InvalidRequest(
            f"{int(found.isna().sum())} of {len(runs)} runs say no {by!r}, so it is not known of which task they are: "
            f"{_some(runs, found.isna())}. Leave them out, or group by something else."
        )
    return found


def _key(said: Any, key: str) -> Any:
    if isinstance(said, str):
        said = json.loads(said)
    value = said.get(key) if isinstance(said, Mapping) else None
    return value if isinstance(value, str | int | float | bool | None) else json.dumps(value, sort_keys=True)


def passed_of(runs: pd.DataFrame, passed: Passed, feedback: Callable[[], pd.DataFrame]) -> "pd.Series[Any]":
    """Returns of each run whether it passed: by a column, a function of its row, or what people think of it.

    Raises InvalidRequest for runs that are not over and for those of which it is not known.
    """
    if "status" in runs.columns:
        is_open = ~runs["status"].astype("string").isin(list(map(str, TERMINAL)))
        if is_open.any():
            raise InvalidRequest(
                f"{int(is_open.sum())} of {len(runs)} runs are not over: {_some(runs, is_open)}. Wait for them, or "
                "leave them out."
            )
    if passed is None or passed == FEEDBACK:
        found = _rated(runs, feedback)
        what = "have no rating: `run.rate(+1)` says that it passed, `run.rate(-1)` that it did not"
    elif callable(passed):
        found = pd.Series([passed(row) for _, row in runs.iterrows()], index=runs.index, dtype=object)
        what = "got no answer from `passed`"
    elif passed in runs.columns:
        found = runs[passed].astype(object)
        what = f"have no value in {passed!r}"
    else:
        raise InvalidRequest(
            f"The runs have no column {passed!r}. They have: {', '.join(runs.columns)}. A function of a row tells it "
            "too."
        )
    if found.isna().any():
        raise InvalidRequest(
            f"{int(found.isna().sum())} of {len(runs)} runs {what}: {_some(runs, found.isna())}. Leave them out "
            "otherwise."
        )
    if strange := [value for value in found if value not in (True, False)]:
        raise InvalidRequest(f"Whether a run passed is True or False, not {strange[0]!r}.")
    return found.astype(bool)


def _rated(runs: pd.DataFrame, feedback: Callable[[], pd.DataFrame]) -> "pd.Series[Any]":
    if "run_id" not in runs.columns:
        raise InvalidRequest("The runs have no column 'run_id', by which their ratings are found: say passed=….")
    if runs.empty:
        return pd.Series([], index=runs.index, dtype=object)
    given = feedback()
    of_runs = given[given["message_id"].isna()]
    sums = of_runs.groupby("run_id")["rating"].sum()
    # More said yes than no; as many of both say nothing.
    told = sums[sums != 0] > 0
    return runs["run_id"].map(told.astype(object))


def _some(runs: pd.DataFrame, which: "pd.Series[Any]") -> str:
    names = runs["run_id"] if "run_id" in runs.columns else pd.Series(runs.index, index=runs.index)
    chosen = [str(name) for name in names[which][:NAMED]]
    return ", ".join(chosen) + (" …" if int(which.sum()) > NAMED else "")
