"""`jupyter_agent/words.pyi`: what editors and the sandbox's checker know of the words is what the words are."""

import ast
import inspect
import subprocess
import sys
from inspect import Parameter

import pytest

from jupyter_agent.client.steps import Steps
from jupyter_agent.script import BudgetView, Words
from jupyter_agent.workflow.checking import check, stubs
from jupyter_agent.workflow.inside import inside_source
from jupyter_agent.workflow.portable import WAITED_FOR, WORDS

from .hosts import LoudHost, carry, script_of

STUBBED = ast.parse(stubs())
FUNCTIONS = {node.name: node for node in STUBBED.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
NAMES = sorted(WORDS | {"step"})
HEAD = (
    f"from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from jupyter_agent.words import {', '.join(NAMES)}\n\n"
)
RIGHT = """
phase("Read", budget={"tokens": 1000})
code = await agent(f"Read {args['path']}", label="read", tools=["read_file"], timeout=60, fresh=True)
views = await parallel([agent(one, schema={"score": int}) for one in ["a", "b"]], limit=2, on_error="raise")
piped = await pipeline(views, lambda view, item, index: agent(f"{index} {view}"))
sure = await gate("Go on?", "All of it.")
said = await ask("Which?", {"colour": str})
more = await workflow("other", path="x")
log(f"{budget.total} {budget.spent()} {budget.remaining()} {budget.cost}")
"""
WRONG = {
    'await agent("x", lable="y")': 'Unexpected keyword argument "lable" for "agent"',
    "await agent(3)": 'Argument 1 to "agent" has incompatible type "int"; expected "str"',
    "await parallel([3])": 'List item 0 has incompatible type "int"; expected "Awaitable[Any]"',
    'await pipeline([1], lambda x: x, on_error="stop")': "expected \"Literal['none', 'raise']\"",
    'args["x"] = 1': 'Unsupported target for indexed assignment ("Mapping[str, Any]")',
    'await agent("x", retries="many")': 'Argument "retries" to "agent" has incompatible type "str"',
    "budget.left()": '"_Budget" has no attribute "left"',
}


def shape(node):
    """Returns the parameters of a function in source: name, kind, default."""
    given = node.args
    before = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(before) - len(given.defaults)) + given.defaults
    found = [
        (one.arg, Parameter.POSITIONAL_ONLY if one in given.posonlyargs else Parameter.POSITIONAL_OR_KEYWORD, default)
        for one, default in zip(before, defaults, strict=True)
    ]
    found += [(one.arg, Parameter.VAR_POSITIONAL, None) for one in [given.vararg] if one]
    found += [
        (one.arg, Parameter.KEYWORD_ONLY, default)
        for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    ]
    found += [(one.arg, Parameter.VAR_KEYWORD, None) for one in [given.kwarg] if one]
    return [(name, kind, ast.literal_eval(default) if default else Parameter.empty) for name, kind, default in found]


def shape_of(word):
    kept = [one for one in inspect.signature(word).parameters.values() if one.name != "self"]
    return [(one.name, one.kind, one.default) for one in kept]


def test_every_word_is_there_with_what_it_does():
    assert {*FUNCTIONS, "args", "budget"} == set(NAMES)
    assert [name for name, node in FUNCTIONS.items() if not ast.get_docstring(node)] == []
    assert {name for name in FUNCTIONS if name in WAITED_FOR} == WAITED_FOR


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_the_words_take_what_the_stubs_say(name):
    word = Steps.step if name == "step" else getattr(Words, name)
    assert shape_of(word) == shape(FUNCTIONS[name])
    assert inspect.iscoroutinefunction(word) == isinstance(FUNCTIONS[name], ast.AsyncFunctionDef)


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"step", "workflow"}))
def test_the_words_of_the_sandbox_take_what_the_stubs_say(name):
    """`workflow` takes its name from `*name`, so that an argument of the other may be called so."""
    # The last one counts: the prelude's `parallel` and `pipeline` are wrapped.
    inside = [node for node in ast.parse(inside_source()).body if getattr(node, "name", "") == name][-1]
    assert shape(inside) == shape(FUNCTIONS[name])


def test_the_budget_has_what_the_stubs_say():
    stubbed = next(node for node in STUBBED.body if isinstance(node, ast.ClassDef))
    names = {node.name for node in stubbed.body if isinstance(node, ast.FunctionDef)}
    assert names == {name for name in vars(BudgetView) if not name.startswith("_")}


async def test_a_script_that_shows_its_words_to_an_editor_runs_as_one_that_does_not(sandbox):
    head = HEAD.replace(", step", "").replace("step, ", "")
    assert await check(sandbox, script_of(head + RIGHT)) == []
    host = LoudHost(path="a.py")
    host.let_go.set()
    assert await carry(sandbox, f"{head}{RIGHT}[code, sure, said]", host) == ["READ A.PY", True, "blue"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("mypy")


def mypy(cache, text):
    path = cache / "script.py"
    path.write_text(text)
    command = [sys.executable, "-m", "mypy", "--strict", "--disable-error-code=top-level-await", path.name]
    done = subprocess.run(
        [*command, "--cache-dir", cache / "cache"], cwd=cache, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    return [line for line in done.stdout.splitlines() if ": error:" in line]


@pytest.mark.timeout(300)
def test_a_type_checker_knows_the_words(cache):
    step = "\ntwo = await step(len, [1, 2])\n"
    assert mypy(cache, HEAD + RIGHT + step) == []
    lines = list(WRONG)
    told = mypy(cache, HEAD + "\n".join(lines))
    first = HEAD.count("\n") + 1
    for number, line in enumerate(lines, first):
        assert [one for one in told if one.startswith(f"script.py:{number}: ") and WRONG[line] in one], (line, told)
