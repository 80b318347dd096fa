"""What is refused before a script starts, with its place and what to write instead; and what is not refused."""

import json

import pytest

from jupyter_agent.exceptions import WorkflowInvalid
from jupyter_agent.workflow.checking import check, check_or_refuse
from jupyter_agent.workflow.portable import MODULES, problems_in
from jupyter_agent.workflow.script_file import read_scripts

from .hosts import carry, script_of

GUARD = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
RULES = {
    "class A(Exception): pass": (3, 1, "inheritance"),
    "class A(metaclass=type): pass": (3, 1, "inheritance"),
    "class A:\n    @property\n    def x(self): return 1": (3, 1, "@property"),
    "class A:\n    @staticmethod\n    def x(): return 1": (3, 1, "@staticmethod"),
    "class A:\n    class B: pass": (3, 1, "class body"),
    "def f():\n    yield 1": (4, 5, "yield"),
    "def f():\n    yield from [1]": (4, 5, "yield from"),
    "x = {1: 2}\ndel x[1]": (4, 1, "del"),
    "async def f(x):\n    async with x: pass": (4, 5, "async with"),
    "async def f(x):\n    async for y in x: pass": (4, 5, "async for"),
    "async def f(x):\n    return [y async for y in x]": (4, 12, "async comprehension"),
    "try: pass\nexcept* ValueError: pass": (3, 1, "except*"),
    "import asyncio\nasyncio.create_task(agent('x'))": (4, 1, "asyncio.create_task"),
    "from asyncio import wait_for": (3, 1, "asyncio.wait_for"),
    "import asyncio\nawait asyncio.gather(agent('x'), return_exceptions=True)": (4, 7, "gather(return_exceptions=)"),
    "import pandas": (3, 1, "import pandas"),
    "import json, os.path": (3, 1, "import os.path"),
    "from . import other": (3, 1, "relative import"),
    "from math import *": (3, 1, "import *"),
    "'ä'; open('/etc/passwd')": (3, 6, "open"),
    "eval('1')": (3, 1, "eval"),
    "().__class__.__bases__": (3, 1, "__bases__"),
    "next(x for x in [1])": (3, 1, "next(… for …)"),
    "agent('x')": (3, 1, "agent(…)"),
    "def phase(): pass": (3, 1, "def phase"),
    "await step(len, [1])": (3, 7, "step"),
    "from jupyter_agent.words import agent": (3, 1, "import jupyter_agent.words"),
    "import jupyter_agent.words": (3, 1, "import jupyter_agent.words"),
    f"{GUARD}    from jupyter_agent.words import *": (5, 5, "import jupyter_agent.words"),
    f"{GUARD}    from jupyter_agent.words import agent as ask_it": (5, 5, "import jupyter_agent.words"),
    f"{GUARD}    from jupyter_agent import run": (5, 5, "import jupyter_agent"),
    f"{GUARD}    x = 1\nelse:\n    from jupyter_agent.words import agent": (7, 5, "import jupyter_agent.words"),
    f"{GUARD}    from jupyter_agent.words import agent\nagent('x')": (6, 1, "agent(…)"),
}
INSIDE = {
    "x = 1\nawait agnt('x')": (4, 7, "`agnt`"),
    "await agent('x', lable='y')": (3, 18, "`lable`"),
    "await agent(3)": (3, 13, "Expected `str`"),
    "await agent()": (3, 7, "`prompt`"),
    "await parallel([3])": (3, 16, "Awaitable"),
    "import math\nmath.area(1)": (4, 1, "no member `area`"),
    "x = 1\n# %%\n\nzzz": (6, 1, "`zzz`"),
    f"{GUARD}    from jupyter_agent.words import agent, agnt": (5, 44, "agnt"),
    f"{GUARD}    from jupyter_agent.words import agent\nawait agent('x', lable='y')": (6, 18, "`lable`"),
    "def f(a, a): pass": (3, 10, "Duplicate parameter"),
}
FINE = [
    "x = {'a': 1, 'b': [1]}\nx['b'].append(2)\nx['c'].whatever",
    "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int = 1\nP().x",
    "class A:\n    '''Doc.'''\n    n: int = 0\n    def f(self): return self.n\nA().f()",
    "def callable(x): return True\ncallable(3)",
    "match args:\n    case {'a': a}: r = a\n    case _: r = None\nr",
    "budget.total, budget.cost, budget.spent(), budget.remaining(), meta['name'], args.get('x')",
    "async def f(p, item, i): return await agent(f'{p}{i}')\nawait pipeline([1], lambda p, item, i: agent(str(p)), f)",
    "await parallel([agent(w, schema={'a': int}, tools=['read_file']) for w in ['x']], limit=3, on_error='raise')",
    "await gate('t'), await ask('q', schema={'x': 'str'}), await workflow('other', path='x')",
    "import asyncio\nawait asyncio.gather(agent('a'), agent('b'))",
    "__name__ == '__main__'",
    f"{GUARD}    from jupyter_agent.words import agent, args\nawait agent(args['x'])",
    "import typing\nif typing.TYPE_CHECKING:\n    from jupyter_agent.words import log\nlog('x')",
    "def step(x): return x\nstep(3)",
]


@pytest.mark.parametrize("text", RULES)
def test_what_the_rules_refuse(text):
    line, column, construct = RULES[text]
    first = problems_in(script_of(text))[0]
    assert (first.line, first.column, first.construct) == (line, column, construct)
    assert first.message.startswith(f"Line {line}, column {column}: the sandbox does not run ")
    assert "\n" not in first.message


@pytest.mark.parametrize("text", INSIDE)
async def test_what_the_sandbox_itself_refuses(sandbox, text):
    line, column, part = INSIDE[text]
    first = (await check(sandbox, script_of(text)))[0]
    assert part in first.message
    assert (first.line, first.column) == (line, column)


@pytest.mark.parametrize("text", FINE)
async def test_what_is_portable(sandbox, text):
    assert await check(sandbox, script_of(text)) == []


@pytest.mark.parametrize("module", sorted(MODULES))
async def test_every_module_that_may_be_imported_is_there(sandbox, module):
    assert await carry(sandbox, f"import {module}") is None


async def test_a_script_is_refused_in_one_sentence_with_all_its_problems(sandbox):
    with pytest.raises(WorkflowInvalid, match=r"^Line 3, column 1: .* \(1 more like it\.\)$") as refused:
        await check_or_refuse(sandbox, script_of("import pandas\ndel x"))
    assert refused.value.details["construct"] == "import pandas"
    assert [one["line"] for one in refused.value.details["problems"]] == [3, 4]


async def test_places_in_a_notebook_are_its_cells(sandbox):
    cells = [{"cell_type": "code", "source": f"%%workflow n\n{text}"} for text in ("x = 1", "\nawait agnt(x)")]
    notebook = json.dumps({"nbformat": 4, "cells": [{"cell_type": "markdown", "source": "#"}, *cells]})
    (script,) = read_scripts(notebook.encode(), "n.ipynb")
    (first,) = await check(sandbox, script)
    assert first.message.startswith("Cell 3, line 3, column 7: ")


async def test_checking_runs_nothing(sandbox):
    # It would not end if a line of it were run.
    assert await check(sandbox, script_of("while True: pass")) == []
