"""Spans under the names of OpenInference (Phoenix and its instrumentations), told under those of the GenAI conventions.

Its lists are attributes with numbers in their names: `llm.input_messages.0.message.role`.
"""

import re
from typing import Any

from ..look import first

KIND = "openinference.span.kind"
_OPERATIONS = {"LLM": "chat", "EMBEDDING": "embeddings", "TOOL": "execute_tool", "AGENT": "invoke_agent"}
_NAMES = {
    "llm.response.model_name": "gen_ai.response.model",
    "llm.model_name": "gen_ai.request.model",
    "embedding.model_name": "gen_ai.request.model",
    "llm.finish_reason": "gen_ai.response.finish_reasons",
    "llm.token_count.prompt": "gen_ai.usage.input_tokens",
    "llm.token_count.completion": "gen_ai.usage.output_tokens",
    "llm.token_count.total": "gen_ai.usage.total_tokens",
    "llm.token_count.prompt_details.cache_read": "gen_ai.usage.cache_read.input_tokens",
    "llm.token_count.prompt_details.cache_write": "gen_ai.usage.cache_creation.input_tokens",
    "llm.token_count.completion_details.reasoning": "gen_ai.usage.reasoning.output_tokens",
    "llm.cost.total": "gen_ai.usage.cost",
    "session.id": "gen_ai.conversation.id",
    "agent.name": "gen_ai.agent.name",
    "tool.name": "gen_ai.tool.name",
    "tool.id": "gen_ai.tool.call.id",
}
_TOOL_NAMES = {
    "input.value": "gen_ai.tool.call.arguments",
    "output.value": "gen_ai.tool.call.result",
}
_MESSAGE = re.compile(r"llm\.(input|output)_messages\.(\d{1,9})\.message\.(.+)")
_CALL = re.compile(r"tool_calls\.(\d{1,9})\.tool_call\.(.+)")
_CONTENT = re.compile(r"contents\.(\d{1,9})\.message_content\.(.+)")


def told(attributes: dict[str, Any]) -> dict[str, Any]:
    """Returns attributes with those of OpenInference under the conventions' names. What has such a name already stays;
    spans of others are returned as they are."""
    kind = attributes.get(KIND)
    if not isinstance(kind, str):
        return attributes
    operation = _OPERATIONS.get(kind.upper())
    names = {**_NAMES, **(_TOOL_NAMES if operation == "execute_tool" else {})}
    found: dict[str, Any] = {"gen_ai.operation.name": operation} if operation else {}
    for name, own in names.items():
        if (value := attributes.get(name)) is not None:
            found.setdefault(own, value)
    if operation == "chat":
        found |= {f"gen_ai.{which}.messages": said for which, said in _messages(attributes).items() if said}
    return {**attributes, **found, **{name: value for name, value in attributes.items() if name.startswith("gen_ai.")}}


def _messages(attributes: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    said: dict[str, dict[int, dict[str, Any]]] = {"input": {}, "output": {}}
    for name, value in attributes.items():
        if found := _MESSAGE.fullmatch(name):
            said[found[1]].setdefault(int(found[2]), {})[found[3]] = value
    return {
        which: [_message(fields, "user" if which == "input" else "assistant") for _, fields in sorted(messages.items())]
        for which, messages in said.items()
    }


def _message(fields: dict[str, Any], role: str) -> dict[str, Any]:
    calls: dict[int, dict[str, Any]] = {}
    contents: dict[int, dict[str, Any]] = {}
    for name, value in fields.items():
        if call := _CALL.fullmatch(name):
            calls.setdefault(int(call[1]), {})[call[2]] = value
        elif content := _CONTENT.fullmatch(name):
            contents.setdefault(int(content[1]), {})[content[2]] = value
    message = {
        "role": first(fields.get("role"), role),
        "content": first(fields.get("content"), [part for _, part in sorted(contents.items())] or None),
        "name": fields.get("name"),
        "tool_call_id": fields.get("tool_call_id"),
        "tool_calls": [
            {"id": call.get("id"), "name": call.get("function.name"), "arguments": call.get("function.arguments")}
            for _, call in sorted(calls.items())
        ],
    }
    if called := fields.get("function_call_name"):
        message["function_call"] = {"name": called, "arguments": fields.get("function_call_arguments_json")}
    return message
