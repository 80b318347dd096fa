"""What 1,000 trivial calls take a peer, the first time and again from what it kept: run by `benchmarks.workflow` in an
environment of its own.

    python peer_calls.py PEER FOLDER CALLS

Prints one line of JSON: seconds cold and resumed, the median seconds of one agent's answer where the peer has agents,
version. All of it is kept in the peer's own way on disk: a SQLite file.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

AGENT_CALLS = 50


def timed(work: Callable[[], Any], expected: Any) -> float:
    began = time.perf_counter()
    if (found := work()) != expected:
        raise RuntimeError(f"It gave {found!r}, not {expected!r}.")
    return time.perf_counter() - began


def langgraph(folder: Path, calls: int) -> dict[str, Any]:
    """Tasks of the functional API, each written before the next begins; then again behind a failure."""
    from langgraph.checkpoint.sqlite import SqliteSaver
    from langgraph.func import entrypoint, task

    class Failed(Exception):
        pass

    @task
    def step(number: int) -> int:
        return number

    fails = True
    with SqliteSaver.from_conn_string(str(folder / "langgraph.db")) as saver:

        @entrypoint(checkpointer=saver)
        def flow(count: int) -> int:
            found = [step(number).result() for number in range(count)]
            if fails:
                raise Failed
            return sum(found)

        config: Any = {"configurable": {"thread_id": "calls"}}
        began = time.perf_counter()
        try:
            flow.invoke(calls, config, durability="sync")
        except Failed:
            cold_s = time.perf_counter() - began
        fails = False
        resumed_s = timed(lambda: flow.invoke(None, config, durability="sync"), sum(range(calls)))
        return {"cold_s": cold_s, "resumed_s": resumed_s, "agent_s": langgraph_agent(saver)}


def langgraph_agent(saver: Any) -> float:
    """Returns the median seconds of an agent whose model repeats what it is told, on a thread of its own each time."""
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.outputs import ChatGeneration, ChatResult
    from langgraph.prebuilt import create_react_agent

    class Echo(BaseChatModel):
        def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
            return ChatResult(generations=[ChatGeneration(message=AIMessage(messages[-1].content))])

        def bind_tools(self, *_: Any, **__: Any) -> Any:
            return self

        @property
        def _llm_type(self) -> str:
            return "echo"

    agent = create_react_agent(Echo(), tools=[], checkpointer=saver)
    seconds = []
    for number in range(AGENT_CALLS):
        config: Any = {"configurable": {"thread_id": f"agent {number}"}}
        said: Any = {"messages": [("user", f"say {number}")]}
        began = time.perf_counter()
        told = agent.invoke(said, config, durability="sync")
        seconds.append(time.perf_counter() - began)
        assert told["messages"][-1].content == f"say {number}"
    return statistics.median(seconds)


def dbos(folder: Path, calls: int) -> dict[str, Any]:
    """Steps of a workflow; then the workflow again from behind its last step."""
    from dbos import DBOS, SetWorkflowID

    DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{folder / 'dbos.sqlite'}", "log_level": "ERROR"})

    @DBOS.step()
    def step(number: int) -> int:
        return number

    @DBOS.workflow()
    def flow(count: int) -> int:
        return sum(step(number) for number in range(count))

    DBOS.launch()
    try:
        with SetWorkflowID("calls"):
            cold_s = timed(lambda: flow(calls), sum(range(calls)))
        resumed_s = timed(lambda: DBOS.fork_workflow("calls", calls + 1).get_result(), sum(range(calls)))
    finally:
        DBOS.destroy()
    return {"cold_s": cold_s, "resumed_s": resumed_s}


def prefect(folder: Path, calls: int) -> dict[str, Any]:
    """Tasks whose results are kept by their inputs, in a flow that is run twice; with the server that it starts."""
    os.environ |= {
        "PREFECT_HOME": str(folder), "PREFECT_LOGGING_LEVEL": "CRITICAL", "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }  # fmt: skip
    from prefect import flow, task
    from prefect.cache_policies import INPUTS

    @task(persist_result=True, cache_policy=INPUTS)
    def step(number: int) -> int:
        return number

    @flow
    def calls_of(count: int) -> int:
        return sum(step(number) for number in range(count))

    calls_of(0)  # the server that it starts is not counted
    return {name: timed(lambda: calls_of(calls), sum(range(calls))) for name in ("cold_s", "resumed_s")}


if __name__ == "__main__":
    peer, folder, calls = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    found = {"langgraph": langgraph, "dbos": dbos, "prefect": prefect}[peer](folder, calls)
    print(json.dumps(found | {"version": version(peer)}))
