"""Trajectories of SWE-agent and mini-swe-agent: `.traj` and `.traj.json`.

SWE-agent's `history` has the messages and its `trajectory` the steps; what the model was shown as a demonstration is
no turn. Costs and tokens are told for the whole only. mini-swe-agent tells the cost and the provider's answer of each
call, also of one whose answer could not be parsed, and its `instance_cost` is the sum of these: it is never added to
them. An action without a tool call is a call of `bash`. An exit code is no error of the tool: a log that calls
something an exception is meant.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from ...records import Outcome, RunStatus, Text, Thinking, ToolCall, ToolResult
from .. import usage
from ..book import Book
from ..draft import CallDraft, RunDraft
from ..look import count, first, is_list, items, number, obj, text, time, written
from ..parts import ROLES, asked, parts_of
from ..source import Source, records
from . import openai

NAME = "swe-agent"
MINI_VERSIONS = ("mini-swe-agent-1", "mini-swe-agent-1.1")
ACTION = "bash"
STEP_KEYS = ("action", "observation", "execution_time", "thought", "response", "tool_calls")
"""Of a step: each repeats all that the model was asked beside them."""
_OPENED = re.compile(r"```(?:bash|mswea_bash_command)\s*\n")
_CLOSED = "\n```"


def matches(value: Any) -> bool:
    """Tells whether a value is a trajectory of one of the two."""
    said = obj(value)
    if "trajectory_format" in said or ("messages" in said and "model_stats" in obj(said.get("info"))):
        return True
    if any(is_step(item) for item in items(said.get("trajectory"))[:5]):
        return True
    return any(matches(item) for item in items(said.get("attempts"))[:1]) or (
        "history" in said and ({"trajectory", "info"} <= said.keys() or _is_demonstration(said))
    )


def _is_demonstration(said: dict[str, Any]) -> bool:
    """Tells whether it is what SWE-agent keeps of a trajectory to show it to a model: the messages alone."""
    return any("role" in obj(item) and "message_type" in obj(item) for item in items(said["history"])[:3])


def is_step(value: Any) -> bool:
    return {"action", "observation"} <= obj(value).keys() and isinstance(value["action"], str | None)


def read(source: Source, book: Book) -> None:
    """Reads trajectories into the book."""
    for place, value in records(source, book.miss):
        for number_, item in enumerate(value if is_list(value) else [value]):
            where = f"{place}, item {number_}" if is_list(value) else place
            if not matches(item):
                book.miss("record that is no trajectory", where)
            elif "messages" in obj(item):
                _read_mini(book, obj(item), where)
            else:
                _read_swe(book, obj(item), where)


# --- SWE-agent ------------------------------------------------------------------------------------------------


def _read_swe(book: Book, said: dict[str, Any], place: str) -> None:
    attempts = [obj(item) for item in items(said.get("attempts"))]
    if not attempts:
        _run(book, said, place, None).finish()
        return
    # The best attempt is repeated beside the attempts, and the sums there are those of all, and of the choosing.
    whole = book.run(_instance(said), place)
    whole.agent = "retry"
    for index, attempt in enumerate(attempts):
        _run(book, attempt, f"{place}, attempt {index}", whole).finish()
    info = obj(said.get("info"))
    if info:
        _end(whole, info)
        _state(whole, obj(info.get("rloop_model_stats")), f"{place}, info.rloop_model_stats")
        whole.finish()


def _instance(said: dict[str, Any]) -> str | None:
    return text(said.get("instance_id")) or text(said.get("environment"))


def _run(book: Book, said: dict[str, Any], place: str, parent: RunDraft | None) -> RunDraft:
    run = book.run(_instance(said), place, parent=parent)
    info = obj(said.get("info"))
    run.version = text(info.get("swe_agent_version"))
    run.model = _model(said.get("replay_config"))
    _end(run, info)
    stats = obj(info.get("model_stats"))
    if parent is not None or "rloop_model_stats" not in info:
        _state(run, stats, f"{place}, info.model_stats")
    steps = [{key: step[key] for key in STEP_KEYS if key in step} for step in map(obj, items(said.get("trajectory")))]
    history = items(said.get("history"))
    if history:
        _tell_history(run, history, steps, place)
    else:
        for index, step in enumerate(steps):
            _tell_step(run, step, f"{place}, step {index}")
    return run


def _model(config: Any) -> str | None:
    """Returns the model that the configuration names, which is JSON in JSON."""
    try:
        found = json.loads(config) if isinstance(config, str) else config
    except (ValueError, RecursionError):
        return None
    return text(obj(obj(obj(found).get("agent")).get("model")).get("name"))


def _end(run: RunDraft, info: dict[str, Any]) -> None:
    status = text(info.get("exit_status")) or ""
    if status.lower().startswith("submitted"):
        run.status = RunStatus.COMPLETED
    elif status:
        run.status, run.error_code = RunStatus.ERROR, status
        run.error_message = text(info.get("exception_str"))
    else:
        run.status = RunStatus.INTERRUPTED


def _state(run: RunDraft, stats: dict[str, Any], place: str) -> None:
    stated = run.stated
    stated.place = place
    stated.cost = first(number(stats.get("instance_cost")), number(stats.get("total_cost")))
    stated.input_tokens = count(stats.get("tokens_sent"))
    stated.output_tokens = count(stats.get("tokens_received"))
    stated.requests = count(stats.get("api_calls"))


def _tell_history(run: RunDraft, history: Sequence[Any], steps: list[dict[str, Any]], place: str) -> None:
    done = 0
    waiting: CallDraft | None = None
    stepped: list[tuple[CallDraft, dict[str, Any]]] = []
    for index, item in enumerate(history):
        said, where = obj(item), f"{place}, history {index}"
        role = ROLES.get(str(said.get("role", "")).lower())
        if role is None:
            run.book.miss(f"message of role {text(said.get('role')) or 'unknown'}", where)
        elif said.get("is_demo"):
            run.message(role, parts_of(said.get("content"), run.book.missing(where)), where)
        elif role == "assistant":
            step = steps[done] if done < len(steps) else {}
            before = len(run.calls)
            waiting = _tell_answer(run, said, step, where)
            stepped += [(call, step) for call in run.calls[before:]]
            done += 1
        elif said.get("tool_call_ids") or role == "tool" or (waiting and role == "user"):
            _tell_observation(run, said, waiting, where)
            waiting = None
        else:
            run.message(role, parts_of(said.get("content"), run.book.missing(where)), where)
    for call, step in stepped:
        # The last observation, of submitting, is not shown to the model: only the step has it.
        if not call.is_answered and isinstance(step.get("observation"), str):
            call.end(step["observation"], Outcome.SUCCESS)
    for index, step in enumerate(steps[done:], start=done):
        if step.get("action"):
            _tell_step(run, step, f"{place}, step {index}")
        else:
            run.book.miss("step without an action", f"{place}, step {index}")


def _tell_answer(run: RunDraft, said: dict[str, Any], step: dict[str, Any], where: str) -> CallDraft | None:
    """Takes what the model answered. Returns the call that waits for an observation that names no call."""
    turn = openai.add(run, {**said, "role": "assistant"}, where)
    seconds = number(step.get("execution_time"))
    calls = run.calls[len(run.calls) - (turn.calls if turn else 0) :]
    own = None
    if not calls and (action := text(said.get("action"))):
        own = run.call(ToolCall(tool_call_id="", name=ACTION, arguments=action.strip()), where, turn=turn)
        calls = [own]
    if seconds is not None and len(calls) == 1:
        calls[0].latency_ms = seconds * 1_000
    return own


def _tell_observation(run: RunDraft, said: dict[str, Any], waiting: CallDraft | None, where: str) -> None:
    content = parts_of(said.get("content"), run.book.missing(where))
    output = "\n".join(part.text for part in content if isinstance(part, Text))
    named = [text(found) or "" for found in items(said.get("tool_call_ids")) or [said.get("tool_call_id")]]
    named = [found for found in named if found]
    if waiting is not None and not named:
        _answer(run, waiting, output, where, is_error=False)
        return
    # One observation may be that of several calls: it is the result of each.
    results = [ToolResult(tool_call_id=found, name="", content=output) for found in named]
    run.message("tool", results or [ToolResult(tool_call_id="", name="", content=output)], where)


def _answer(run: RunDraft, call: CallDraft, output: str, where: str, *, is_error: bool, at: Any = None) -> None:
    """Takes the message that is the result of this very call."""
    call.is_answered = True
    call.end(output, Outcome.ERROR if is_error else Outcome.SUCCESS)
    call.finished_at = at
    # As text it counts as a message of a tool, without being put to a call once more.
    run.message("tool", [Text(text=output)], where, at=at)


def _tell_step(run: RunDraft, step: dict[str, Any], where: str) -> None:
    """Takes a step of which there are no messages: what the model answered, did and saw."""
    turn = run.turn(where)
    thought = text(step.get("thought"))
    answered = first(text(step.get("response")), thought)
    run.message("assistant", [Text(text=answered)] if answered else [], where, turn=turn)
    called = [asked(item) for item in items(step.get("tool_calls"))]
    if not called and (action := text(step.get("action"))):
        called = [ToolCall(tool_call_id="", name=ACTION, arguments=action.strip())]
    for item in called:
        call = run.call(item, where, turn=turn)
        call.latency_ms = None if (seconds := number(step.get("execution_time"))) is None else seconds * 1_000
        _answer(run, call, written(step.get("observation")), where, is_error=False)


# --- mini-swe-agent -------------------------------------------------------------------------------------------


def _read_mini(book: Book, said: dict[str, Any], place: str) -> None:
    info = obj(said.get("info"))
    run = book.run(first(text(said.get("instance_id")), text(info.get("instance_id"))), place)
    version = text(said.get("trajectory_format"))
    if version is not None and version not in MINI_VERSIONS:
        book.miss(f"version {version}, not known here: read as {MINI_VERSIONS[-1]}", place)
    run.version = first(text(info.get("mini_version")), version)
    run.model = text(obj(obj(obj(info.get("config")).get("model"))).get("model_name"))
    _end(run, info)
    _state(run, obj(info.get("model_stats")), f"{place}, info.model_stats")
    messages = items(said["messages"])
    has_actions = any("actions" in obj(obj(message).get("extra")) for message in messages)
    waiting: list[CallDraft] = []
    for index, message in enumerate(map(obj, messages)):
        where = f"{place}, message {index}"
        extra = obj(message.get("extra"))
        role = first(message.get("role"), "assistant" if message.get("object") == "response" else None)
        if role == "assistant":
            waiting = _tell_mini_answer(run, message, where, has_actions=has_actions)
        elif "raw_output" in extra and waiting and not _names_call(message):
            call = waiting.pop(0)
            output = _plain(run, message, where)
            _answer(
                run, call, output, where, is_error=bool(extra.get("exception_info")), at=time(extra.get("timestamp"))
            )
        elif _names_call(message):
            _tell_mini_result(run, message, where)
        elif role == "exit":
            # The scaffold's last word, of which the model hears nothing.
            run.message("system", parts_of(message.get("content"), book.missing(where)), where)
        else:
            waiting = _tell_mini_other(run, message, where, waiting)
    run.finish()


def _names_call(message: dict[str, Any]) -> bool:
    return message.get("role") == "tool" or message.get("type") == "function_call_output"


def _plain(run: RunDraft, message: dict[str, Any], where: str) -> str:
    parts = parts_of(message.get("content"), run.book.missing(where))
    return "\n".join(part.text for part in parts if isinstance(part, Text))


def _tell_mini_answer(run: RunDraft, message: dict[str, Any], where: str, *, has_actions: bool) -> list[CallDraft]:
    """Takes an answer. Returns the calls that are not named: their results follow in their order."""
    extra = obj(message.get("extra"))
    before = len(run.calls)
    if "output" in message and message.get("object") == "response":
        turn = run.turn(where, model=text(message.get("model")), at=time(extra.get("timestamp")))
        parts = [part for item in items(message["output"]) for part in _of_response(run, item, where)]
        run.message("assistant", parts, where, turn=turn, foreign_id=text(message.get("id")))
        turn.usage = usage.read(message.get("usage"))
    else:
        found = openai.add(run, message, where)
        if found is None:
            return []
        turn = found
    _charge(turn, extra)
    if len(run.calls) > before:
        return []
    actions = [
        obj(action).get("command") if isinstance(action, dict) else action for action in items(extra.get("actions"))
    ]
    if not has_actions:
        blocks = _blocks(written(message.get("content")))
        actions = [*blocks] if len(blocks) == 1 else []
    return [
        run.call(
            ToolCall(tool_call_id="", name=ACTION, arguments=written(action)), where, turn=turn, at=turn.started_at
        )
        for action in actions
    ]


def _blocks(said: str) -> list[str]:
    """Returns the blocks of commands in a text, as mini-swe-agent finds them. In one pass: a pattern for whole blocks
    would look to the end again for each that is opened."""
    found, at = [], 0
    while (opened := _OPENED.search(said, at)) and (end := said.find(_CLOSED, opened.end())) >= 0:
        found.append(said[opened.end() : end])
        at = end + len(_CLOSED)
    return found


def _of_response(run: RunDraft, item: Any, where: str) -> list[Any]:
    if obj(item).get("type") == "message":
        return list(parts_of(obj(item).get("content"), run.book.missing(where)))
    found = parts_of(item, run.book.missing(where))
    return [part for part in found if not isinstance(part, Thinking) or part.text]


def _charge(turn: Any, extra: dict[str, Any]) -> None:
    """Takes what a call used and cost, as the provider's answer and the agent say."""
    response = obj(extra.get("response"))
    turn.usage = first(usage.read(response.get("usage")), turn.usage)
    turn.cost = first(number(extra.get("cost")), turn.cost)
    turn.model = first(text(response.get("model")), turn.model)
    turn.foreign_id = first(text(response.get("id")), turn.foreign_id)
    choice = obj(next(iter(items(response.get("choices"))), None))
    turn.stop_reason = first(text(choice.get("finish_reason")), turn.stop_reason)


def _tell_mini_result(run: RunDraft, message: dict[str, Any], where: str) -> None:
    extra = obj(message.get("extra"))
    failed = bool(extra.get("exception_info"))
    result = ToolResult(
        tool_call_id=text(first(message.get("tool_call_id"), message.get("call_id"))) or "",
        name="",
        content=_plain(run, {"content": first(message.get("content"), message.get("output"))}, where),
        is_error=failed,
    )
    run.message("tool", [result], where, at=time(extra.get("timestamp")))


def _tell_mini_other(run: RunDraft, message: dict[str, Any], where: str, waiting: list[CallDraft]) -> list[CallDraft]:
    """Takes a message of the system or the user: the task, the result of an action, or that an answer was no good."""
    extra = obj(message.get("extra"))
    if "response" in extra or (extra.get("interrupt_type") == "FormatError" and "cost" in extra):
        turn = run.turn(where, at=time(extra.get("timestamp")))
        _charge(turn, extra)
        turn.fail("FormatError: the answer could not be read as an action.")
    if waiting and message.get("role") == "user" and "interrupt_type" not in extra:
        _answer(run, waiting[0], _plain(run, message, where), where, is_error=False, at=time(extra.get("timestamp")))
        return waiting[1:]
    openai.add(run, message, where)
    return waiting
