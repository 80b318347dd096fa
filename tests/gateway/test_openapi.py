"""The OpenAPI document: complete, true, and good enough for a fuzzer to drive every route from it without a 500."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis.errors import Unsatisfiable

from tests.gateway.talk import API, api
from tests.live_server import TOKEN, LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

schemathesis = pytest.importorskip("schemathesis", reason="the fuzzer is not installed")
requests = pytest.importorskip("requests", reason="the fuzzer is not installed")
not_a_server_error = schemathesis.checks.not_a_server_error
conformance = pytest.importorskip("schemathesis.specs.openapi.checks")
status_code_conformance = conformance.status_code_conformance
response_schema_conformance = conformance.response_schema_conformance

LONGEST_HEAD = 60_000
"""Tornado hangs up on more than 65,536 bytes without an answer, whatever page is asked for."""
EXAMPLES = 12
"""Requests for each operation. Runs that they start are of the offline model, and are over soon."""


async def test_the_document_names_every_route_and_says_how_each_is_refused(server: LiveServer) -> None:
    from jupyter_agent.gateway.openapi import VERBS
    from jupyter_agent.gateway.routes import ROUTES

    status, document = await api(server, "GET", "openapi.json")
    assert (status, document["openapi"]) == (200, "3.1.0")
    described = {(path, verb) for path, verbs in document["paths"].items() for verb in verbs}
    assert len(described) == sum(verb in vars(handler) for _, handler in ROUTES for verb in VERBS)
    for path, verbs in document["paths"].items():
        for verb, one in verbs.items():
            assert one["summary"], (path, verb)
            assert {"403", "503"} <= one["responses"].keys(), (path, verb)
            named = {parameter["name"] for parameter in one["parameters"] if parameter["in"] == "path"}
            assert named == {part.strip("{}") for part in path.split("/") if part.startswith("{")}
    identifiers = [one["operationId"] for verbs in document["paths"].values() for one in verbs.values()]
    assert len(set(identifiers)) == len(identifiers)


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


async def test_every_reference_leads_somewhere(server: LiveServer) -> None:
    _, document = await api(server, "GET", "openapi.json")
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= known


@pytest.mark.timeout(400)
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
async def test_a_fuzzer_meets_no_500(server: LiveServer, mode: Any) -> None:
    _, document = await api(server, "GET", "openapi.json")
    faults = await asyncio.to_thread(fuzz, server, document, mode)
    assert not faults, "\n\n".join(faults[:5])
    assert "Traceback" not in server.log.read_text()
    assert (await api(server, "GET", "health"))[0] == 200


def head_bytes(case: Any, url: str) -> int:
    """Returns how long a request is without its body, about."""
    request = requests.Request(**case.as_transport_kwargs(base_url=f"{url}/{API}")).prepare()
    return len(request.url or "") + sum(len(name) + len(value) for name, value in request.headers.items())


def fuzz(server: LiveServer, document: dict[str, Any], mode: Any) -> list[str]:
    """Drives every operation and returns what was wrong with the answers. Blocking."""
    schema = schemathesis.openapi.from_dict(document)
    checks = [not_a_server_error, status_code_conformance, response_schema_conformance]
    faults = []
    with requests.Session() as session:
        session.headers["Authorization"] = f"token {TOKEN}"
        for operation in (found.ok() for found in schema.get_all_operations()):

            @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
                      phases=[Phase.generate], suppress_health_check=list(HealthCheck))  # fmt: skip
            @given(case=operation.as_strategy(generation_mode=mode))
            def drive(case: Any) -> None:
                assume(head_bytes(case, server.url) < LONGEST_HEAD)
                answer = case.call(base_url=f"{server.url}/{API}", session=session, timeout=60)
                case.validate_response(answer, checks=checks)

            try:
                drive()
            except Unsatisfiable:
                continue  # an operation without anything that could be sent wrongly
            except Exception as fault:  # noqa: BLE001 - whatever the checks raise is collected
                faults.append(f"{operation.label}: {fault}")
    return faults
