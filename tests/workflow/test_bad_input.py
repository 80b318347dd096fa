"""What scripts say wrongly in ways that no check sees before they run: each is told with its line, what was answered
before is kept, and the next script is carried out. (What checks see is in test_portable, limits are in test_limits.)"""

from typing import Any

import pytest
import pytest_asyncio

from jupyter_agent.records import RunStatus

from .actors import FAILS, staged

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIRST = "kept = await agent('kept', label='kept')\n"
BAD = {
    "number for a prompt": ("await agent(args.get('n', 3))", "Expected `str`, got `int` - at `$.prompt`"),
    "empty prompt": ("await agent(' ')", "agent() needs a prompt with some text"),
    "text for tools": ("await agent('x', tools=args.get('n', 'read_file'))", "got `str` - at `$.tools`"),
    "unknown tool": ("await agent('x', tools=['no_such'])", "There is no tool 'no_such'"),
    "unknown model": ("await agent('x', model='no-such')", "UnknownModel: There is no model 'no-such'"),
    "timeout below 0": ("await agent('x', timeout=-1)", "a timeout in seconds above 0"),
    "too many retries": ("await agent('x', retries=99)", "0 to 10 retries"),
    "unknown budget": ("await agent('x', budget={'turn': 1})", "A budget has turns, tool_calls"),
    "schema that is none": ("await agent('x', schema={'n': 'nonsense'})", "schema.n names the type 'nonsense'"),
    "schema never satisfied": (
        "await agent('prose', schema={'n': int}, budget={'tokens': 50_000})",
        "SchemaNotSatisfied: None of 5 answers had the form",
    ),
    "number attached": ("await agent('x', attach=args.get('n', 3))", "got `int` - at `$.attach`"),
    "long label": ("await agent('x', label='l' * 2_000)", "The label of agent() has 2,000 characters, 1,000"),
    "long phase": ("phase('x' * 2_000); await agent('x')", "The phase of agent() has 2,000 characters"),
    "unknown budget of a phase": ("phase('p', budget={'token': 1}); await agent('x')", "A phase's budget is {'token'"),
    "question that is none": ("await ask(args.get('n', 3))", "got `int` - at `$.question`"),
    "form that is none": ("await ask('x', schema={'type': 'string'})", "it has to describe an object"),
    "long title": ("await gate('x' * 2_000)", "The title of gate() has 2,000 characters"),
    "missing workflow": ("await workflow('nowhere')", "WorkflowNotFound: There is no workflow 'nowhere'"),
    "no list of calls": ("await parallel(args.get('n', 3))", "TypeError: 'int' object is not iterable"),
    "no calls in the list": ("await parallel(args.get('n', [3]))", "takes calls like agent(…); item 0 is 3"),
    "limit of nothing": ("await parallel([agent('x')], limit=0)", "limit must be at least 1, not 0"),
    "unknown on_error": ("await parallel([agent('x')], on_error=args.get('n', 'stop'))", "on_error is 'none' or"),
    "number for a stage": ("await pipeline([1], args.get('n', 3))", "pipeline() takes functions behind the items"),
    "call for a stage": ("await pipeline([1], args.get('n', agent('x')))", "stage 0 is <coroutine"),
    "missing argument": ("args['missing']", "KeyError: 'missing'"),
    "awaited twice": ("call = agent('x'); await call; await call", "cannot reuse already awaited coroutine"),
    "failing model": ("await agent('fails')", "RuntimeError: BadCredentials: The key is wrong."),
    "recursion": ("def f(n): return f(n + 1)\nf(0)", "called functions more than 500 deep. It was at line 3."),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory):
    def play(prompt: str) -> Any:
        return {"fails": FAILS, "prose": "Gladly."}.get(prompt, prompt)

    async with staged(tmp_path_factory.mktemp("bad")) as stage:
        stage.actor.play = play
        yield stage


@pytest.mark.parametrize("name", BAD)
async def test_what_is_wrong_is_told_with_its_line_and_costs_nothing_else(stage, name):
    text, said = BAD[name]
    place = name.replace(" ", "-").replace("_", "-")
    stage.write(place, FIRST + text)
    run = await stage.run(place)
    assert run.status is RunStatus.ERROR
    assert said in run.error_message
    assert "line 3" in run.error_message.lower()
    assert "server's log" not in run.error_message
    assert (await stage.run(place)).hits >= 1, "what was answered before is kept"
    stage.write("well", "await agent('well')")
    assert (await stage.run("well")).result == "well"
