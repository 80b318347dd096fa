"""What a script finds in the sandbox: its words, as a text that the sandbox runs before the script's first cell.

The script reaches the server by two functions and as JSON text alone: `_call(word, json)` is waited for, `_tell(word,
json)` is answered at once. JSON is made and read inside, so that the server never walks through a hostile object.
"""

from functools import cache
from typing import Final

from ..script import MAX_ITEMS, prelude_source

_WORDS: Final = """
import json as _json

_parallel = parallel
_pipeline = pipeline
_said = {"phase": None, "budgets": {}}
_types = [(str, "str"), (int, "int"), (float, "float"), (bool, "bool"), (list, "list"), (dict, "dict")]


async def _wait(word, said):
    return _json.loads(await _call(word, _json.dumps(said, allow_nan=False)))


def _plain(schema):
    if isinstance(schema, dict):
        return {key: _plain(value) for key, value in schema.items()}
    if isinstance(schema, (list, tuple)):
        return [_plain(value) for value in schema]
    for kind, name in _types:
        if schema is kind:
            return name
    return schema


def agent(
    prompt, *, label=None, phase=None, schema=None, model=None, tools=None, agent=None, budget=None, attach=None,
    fresh=False, side_effects=False, retries=0, timeout=None,
):
    phase = phase or _said["phase"]
    return _wait("agent", {
        "prompt": prompt, "label": label, "phase": phase, "phase_budget": _said["budgets"].get(phase),
        "schema": _plain(schema), "model": model,
        "tools": tools if tools is None or isinstance(tools, str) else list(tools), "agent": agent, "budget": budget,
        "attach": attach, "fresh": fresh, "side_effects": side_effects, "retries": retries, "timeout": timeout,
    })


def workflow(*name, **args):
    # An argument of the other workflow may be called `name` too.
    return _wait("workflow", {"name": name[0] if len(name) == 1 else "", "args": args, "phase": _said["phase"]})


def ask(question, schema=None):
    return _wait("ask", {"question": question, "schema": _plain(schema), "phase": _said["phase"]})


def gate(title, detail=""):
    return _wait("gate", {"title": title, "detail": detail, "phase": _said["phase"]})


def phase(title, *, budget=None):
    _said["phase"] = str(title)
    if budget is not None:
        _said["budgets"][str(title)] = budget
    _tell("phase", _json.dumps(str(title)))


def log(message):
    _tell("log", _json.dumps(str(message)))


def _check(count, limit, on_error):
    if count > MAX_ITEMS:
        raise ValueError(f"{count:,} items are more than the {MAX_ITEMS:,} of one parallel or pipeline; nothing was "
                         "started. Work in batches.")
    if limit < 1 and count:
        raise ValueError(f"limit must be at least 1, not {limit}.")
    if on_error not in ("none", "raise"):
        raise ValueError(f"on_error is 'none' or 'raise', not {on_error!r}.")


def _note(word, index, fault):
    log(f"{word}: item {index} failed: {type(fault).__name__}: {fault}")


async def _settle(value):
    return await value if type(value).__name__ == "coroutine" else value


async def parallel(calls, *, limit=None, on_error="none"):
    calls = list(calls)
    for index, call in enumerate(calls):
        if type(call).__name__ != "coroutine":
            raise TypeError(f"parallel() takes calls like agent(…); item {index} is {call!r}.")
    return await _parallel(calls, len(calls) if limit is None else limit, on_error, _check, _note)


async def pipeline(items, *stages, limit=None, on_error="none"):
    items = list(items)
    for index, stage in enumerate(stages):
        # There is no callable() here; a call in place of a function is what is mistaken most.
        if type(stage).__name__ in ("coroutine", "NoneType", "str", "int", "float", "bool", "list", "tuple", "dict"):
            raise TypeError(f"pipeline() takes functions behind the items; stage {index} is {stage!r}.")
    return await _pipeline(items, stages, len(items) if limit is None else limit, on_error, _check, _note, _settle)
"""

RESULT: Final = "_json.dumps(_result, allow_nan=False)"
"""What is fed last: the result as JSON text, made inside the sandbox."""


@cache
def inside_source() -> str:
    """Returns the text that defines the words, `parallel` and `pipeline` by the prelude that kernels use too."""
    return prelude_source() + _WORDS.replace("MAX_ITEMS", str(MAX_ITEMS))
