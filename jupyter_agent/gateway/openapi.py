"""The OpenAPI 3.1 document of the REST routes, made from the very structs that check and answer them."""

import inspect
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any, Final

import msgspec
from tornado import web

from ..records import ID_PATTERN
from .rest import AgentHandler, Operation, authorized, operation

VERBS: Final = ("get", "post", "put", "patch", "delete")
REFERENCE: Final = "#/components/schemas/{name}"
ALWAYS: Final = (401, 403, 500, 503)
"""What every route may answer: a stranger, an authorizer that says no, a bug, a store that is not there."""

WITHOUT_BODY: Final = {
    204: "The cursor is the last event of a run that is over.",
    304: "It is what the entity tag of `If-None-Match` stands for.",
}
"""What is no fault and says nothing more."""

PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "digest": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "workflow": {"type": "string", "minLength": 1, "maxLength": 200},
}
_ID: Final = {"type": "string", "pattern": f"^{ID_PATTERN}$"}
_GROUP: Final = re.compile(r"\(\?P<(\w+)>[^)]*\)")

Schema = dict[str, Any]


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every refusal looks like. `details["fields"]` names each wrong field of a request."""

    code: str
    message: str
    details: dict[str, Any] = {}


def document(routes: Iterable[tuple[str, type[AgentHandler]]], *, server: str) -> Schema:
    """Returns the document for routes given as (pattern, handler)."""
    described = [
        (_GROUP.sub(lambda group: "{" + _camel(group[1]) + "}", pattern), _GROUP.findall(pattern), handler)
        for pattern, handler in routes
    ]
    operations = [found for _, _, handler in described for found in _operations(handler).values()]
    types = [kind for one in operations for kind in (one.answer, one.body, one.query) if _has_schema(kind)]
    schemas, components = msgspec.json.schema_components([*types, Fault], ref_template=REFERENCE)
    known = {id(kind): schema for kind, schema in zip([*types, Fault], schemas, strict=True)}
    for schema in components.values():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "jupyter_agent",
            "version": version("jupyter_agent"),
            "description": "The agent gateway of a Jupyter server.",
        },
        "servers": [{"url": server}],
        "security": [{"token": []}],
        "paths": {
            path: {
                verb: _operation(one, verb, path, names, known, components)
                for verb, one in _operations(handler).items()
            }
            for path, names, handler in described
        },
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`token <the server's token>`",
                }
            },
        },
    }


def _operations(handler: type[AgentHandler]) -> dict[str, Operation]:
    found = {verb: getattr(getattr(handler, verb), "__operation__", None) for verb in VERBS}
    return {verb: one for verb, one in found.items() if one is not None}


def _operation(
    one: Operation, verb: str, path: str, names: list[str], known: Mapping[int, Schema], components: Mapping[str, Any]
) -> Schema:
    parameters = [
        {"name": _camel(name), "in": "path", "required": True, "schema": PARAMETERS.get(name, _ID)} for name in names
    ]
    described: Schema = {
        "summary": one.summary,
        "operationId": _operation_id(verb, path),
        "parameters": parameters + _query(one.query, known, components),
        "responses": _responses(one, known, is_checked=one.body is not None or one.query is not None),
    }
    if one.body is not None:
        is_bytes = one.body is bytes
        schema = {} if is_bytes else known[id(one.body)]
        media = "application/octet-stream" if is_bytes else "application/json"
        described["requestBody"] = {"required": True, "content": {media: {"schema": schema}}}
    return described


def _query(query: Any, known: Mapping[int, Schema], components: Mapping[str, Any]) -> list[Schema]:
    if query is None:
        return []
    struct = components[known[id(query)]["$ref"].rsplit("/", 1)[-1]]
    found = []
    for name, schema in struct["properties"].items():
        # Absence is said by leaving a parameter out, not by null.
        options = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
        plain = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
        chosen = {**plain, **options[0]} if len(options) == 1 else schema
        parameter: Schema = {"name": name, "in": "query", "required": False, "schema": chosen}
        if chosen.get("type") == "array":
            parameter |= {"style": "form", "explode": False}
        if chosen.get("type") == "object":
            parameter |= {"style": "deepObject", "explode": True}
        found.append(parameter)
    return found


def _responses(one: Operation, known: Mapping[int, Schema], *, is_checked: bool) -> Schema:
    fault = {"application/json": {"schema": known[id(Fault)]}}
    ok: Schema = {"description": "Done."}
    if one.answer is not None:
        schema = {} if one.answer is bytes else known[id(one.answer)]
        ok["content"] = {one.media: {"schema": schema}}
        if one.answer is bytes:
            ok["content"] |= {kind: {"schema": {}} for kind in ("image/png", "image/jpeg", "image/gif", "image/webp")}
    responses: Schema = {str(one.status): ok}
    codes = {*ALWAYS, *one.faults} | ({413, 422} if is_checked else set())
    for code in sorted(codes):
        if code in WITHOUT_BODY:
            responses.setdefault(str(code), {"description": WITHOUT_BODY[code]})
        elif str(code) not in responses:
            responses[str(code)] = {"description": "Refused; the body says why.", "content": fault}
    return responses


def _operation_id(verb: str, path: str) -> str:
    words = [part.strip("{}") for part in path.split("/") if part]
    return verb + "".join(word[:1].upper() + word[1:].replace(".", "") for word in words)


def _has_schema(kind: Any) -> bool:
    return kind is not None and kind is not bytes


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class Document(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:health")
    @operation("This document", answer=dict[str, Any])
    async def get(self) -> None:
        self.reply(self.gateway.openapi())
