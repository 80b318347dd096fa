"""Resume by content from end to end: passes of a kernel's client and of the sandbox, in turn, over one real server.

What each pass has to run live and what it is answered from the store is told by a multiset of what was answered before.
"""

import asyncio
import random
from collections import Counter, defaultdict

import pytest

from jupyter_agent.client.client import Client
from jupyter_agent.client.discovery import gateway_at
from jupyter_agent.client.workflow import Workflow
from tests.gateway.test_script_runs import heard, write
from tests.gateway.test_scripts import start
from tests.live_server import TOKEN, LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROMPTS = "abcdef"
PASSES = 6

Script = list[list[str]]
"""Groups of prompts: those of a group are called at once, the groups one after the other."""
Done = list[tuple[str, str, bool]]
"""Prompt, the run that answered it, and whether that was answered before."""


async def in_kernel(server: LiveServer, name: str, script: Script) -> Done:
    client = Client(gateway_at(f"{server.url}/", TOKEN, source="the test"))
    try:
        wf = Workflow(client, name)
        wf.defaults = type(wf.defaults)(model="echo")
        for group in script:
            calls = [wf.agent(prompt, tools=[]) for prompt in group]
            answers = [await calls[0]] if len(calls) == 1 else await wf.parallel(calls)
            assert answers == group
        return [(row.prompt, str(row.run_id), bool(row.reused)) for row in wf.calls]
    finally:
        await asyncio.to_thread(client.close)


async def in_sandbox(server: LiveServer, name: str, script: Script) -> Done:
    groups = [
        f"await agent({group[0]!r}, model='echo', tools=[])" if len(group) == 1 else
        f"await parallel([agent(one, model='echo', tools=[]) for one in {group!r}], on_error='raise')"
        for group in script
    ]  # fmt: skip
    write(server, name, "\n# %%\n".join(groups))
    told = await heard(server, await start(server, name))
    assert told[-1]["text"] == "completed", told[-1]
    ends = [one for one in told if one["type"] == "call" and one["status"] in ("hit", "done")]
    return [(one["text"], one["runId"], one["status"] == "hit") for one in ends]


@pytest.mark.parametrize("seed", [1, 2])
async def test_exactly_what_changed_runs_live_wherever_the_script_runs(server: LiveServer, seed: int) -> None:
    chance = random.Random(seed)
    name = f"reused-{seed}"
    prompts = chance.choices(PROMPTS, k=10)
    stored: defaultdict[str, list[str]] = defaultdict(list)
    for _ in range(PASSES):
        rest, script = list(prompts), []
        while rest:
            count = chance.choice([1, 1, 2, 4])
            script.append(rest[:count])
            rest = rest[count:]
        done = await chance.choice([in_kernel, in_sandbox])(server, name, script)
        before = Counter({prompt: len(runs) for prompt, runs in stored.items()})
        assert Counter(prompt for prompt, _, is_hit in done if not is_hit) == Counter(prompts) - before
        hits = [(prompt, run) for prompt, run, is_hit in done if is_hit]
        assert Counter(prompt for prompt, _ in hits) == Counter(prompts) & before
        assert len(set(hits)) == len(hits), "alike calls have results of their own"
        assert all(run in stored[prompt] for prompt, run in hits)
        for prompt, run, is_hit in done:
            if not is_hit:
                stored[prompt].append(run)
        # The next one: another order, one call gone, one changed, one more.
        prompts = chance.sample(prompts, len(prompts) - 1)
        prompts[chance.randrange(len(prompts))] = chance.choice(PROMPTS + "x")
        prompts.insert(chance.randrange(len(prompts)), chance.choice(PROMPTS))
