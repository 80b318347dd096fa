"""Scripts that never end, grow, recurse, flood and forge: each ends with a sentence, and the next run is fine."""

import asyncio
import time

import msgspec
import pytest

from jupyter_agent.exceptions import AgentError, SandboxLimit, WorkflowFailed
from jupyter_agent.workflow.limits import Limits

from .hosts import LoudHost, carry

SMALL = Limits(
    memory_bytes=48 << 20, cell_s=0.4, total_s=1.0, suspensions=300, calls=50, printed_chars=50_000,
    output_bytes=10_000, call_bytes=100_000, recursion=200,
)  # fmt: skip

OVER = {
    "while True: pass": "cell_s",
    "x = [0]\nwhile True: x[0] += 1": "cell_s",
    "import re\nre.compile('(a|aa)+$').match('a' * 100_000 + 'b')\nwhile True: pass": "cell_s",
    "sorted(range(10), key=lambda x: [1 for _ in range(10**9)])": ("cell_s", "memory_bytes"),
    "x = 'a'\nwhile True: x += x": "memory_bytes",
    "x = []\nwhile True: x.append([x, x, x, x])": "memory_bytes",
    "[0] * 10**10": "memory_bytes",
    "' ' * (1 << 60)": "memory_bytes",
    "10 ** 10 ** 9": ("memory_bytes", "cell_s"),
    "def f(): return f()\nf()": "recursion",
    "while True: print('x' * 1000)": "printed_chars",
    "while True: log('x' * 1000)": ("printed_chars", "suspensions"),
    "while True: phase('x')": "suspensions",
    "while True: await agent('x')": ("calls", "suspensions"),
    "await parallel([agent(str(n)) for n in range(60)])": "calls",
    "await agent('x' * 200_000)": "call_bytes",
    "'x' * 20_000": "output_bytes",
    "x = [0]\nfor _ in range(40): x = [x, x]\nx": ("memory_bytes", "cell_s"),
    "import asyncio\nfor _ in range(400): await asyncio.sleep(0)": "suspensions",
    "\n# %%\n".join(["for _ in range(1_500_000): pass"] * 60): "total_s",
}

NO_JSON = {
    "{1, 2}": "set",
    "b'a'": "bytes",
    "float('nan')": "nan",
    "lambda: 1": "function",
    "class A: pass\nA()": "A",
    "x = []\nx.append(x)\nx": "Circular",
    "async def f(): return 1\nf()": "coroutine",
    "agent('x'), 1": "coroutine",
    "range(3)": "range",
    "{(1, 2): 3}": "keys",
}

FORGED = [
    "await _call('agent', '{}')",
    "await _call('agent', '{\"prompt\": 3}')",
    "await _call('rm', '{}')",
    "await _call('agent', 'no json')",
    "await _call('agent', '[' * 100000)",
    "await _call('__class__', '{}')",
    "await _call(['agent'], {})",
    "await _call('agent', said='{}')",
    "_tell('phase', '3')",
    "_tell('agent', '{\"prompt\": \"x\"}')",
    "_host('x')",
    "budget.used",
    "budget.__class__.__init__",
    "budget.spent.__globals__",
    "getattr(budget, 'calls')",
]


@pytest.mark.parametrize("text", OVER)
async def test_every_limit_is_an_error_of_its_own(sandbox, text):
    host = LoudHost()
    expected = OVER[text] if isinstance(OVER[text], tuple) else (OVER[text],)
    # On a busy machine a short time would be over before whatever else is tried.
    is_about_time = {"cell_s", "total_s"} & {*expected}
    limits = SMALL if is_about_time else msgspec.structs.replace(SMALL, cell_s=20, total_s=20)
    began = time.monotonic()
    with pytest.raises(SandboxLimit, match=r"^The script .*\.$") as over:
        await carry(sandbox, text, host, limits=limits)
    assert over.value.details["limit"] in expected
    assert time.monotonic() - began < 20
    assert sum(len(line) for line in host.said) <= 110_000
    assert len(host.calls) <= 50
    assert await carry(sandbox, "1 + 1") == 2


@pytest.mark.parametrize("text", NO_JSON)
async def test_a_result_that_is_no_json(sandbox, text):
    with pytest.raises(WorkflowFailed, match=f"The result is no JSON: .*{NO_JSON[text]}"):
        await carry(sandbox, text)


@pytest.mark.parametrize("text", FORGED)
async def test_forged_words_do_nothing(sandbox, text):
    host = LoudHost()
    with pytest.raises(AgentError):
        await carry(sandbox, f"{text}\n1", host)
    assert not host.calls
    assert host.said == []


async def test_a_limit_cannot_be_caught(sandbox):
    text = "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
    with pytest.raises(SandboxLimit):
        await carry(sandbox, text, limits=SMALL)
    with pytest.raises(SandboxLimit):
        await carry(sandbox, "while True:\n    try: await agent('x')\n    except BaseException: pass", limits=SMALL)


async def test_one_run_over_its_limits_does_not_touch_another(sandbox):
    host = LoudHost()
    calm = asyncio.create_task(carry(sandbox, "[await agent('wait') for _ in range(5)]", host))
    with pytest.raises(SandboxLimit):
        await carry(sandbox, "x = 'a'\nwhile True: x += x", limits=SMALL)
    host.let_go.set()
    assert await calm == ["WAIT"] * 5
