"""Bodies and frames that nobody sends by accident: each is refused in a sentence, or kept whole."""

import json
from typing import Any

import pytest

from tests.gateway.talk import API, api, fetch, headers_of, talking
from tests.live_server import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


def nested(levels: int, *, objects: bool = False) -> str:
    return '{"a":' * levels + "1" + "}" * levels if objects else "[" * levels + "]" * levels


@pytest.mark.parametrize("levels", [98, 150, 450, 600, 950, 20_000])
@pytest.mark.parametrize("objects", [True, False])
@pytest.mark.parametrize("field", ["metadata", "script", "kwargs"])
async def test_what_is_nested_too_deeply_is_refused(
    server: LiveServer,
    field: str,
    objects: bool,  # noqa: FBT001 - a case of the table
    levels: int,
) -> None:
    value = f'{{"a":{nested(levels - 2, objects=objects)}}}'
    model = "scripted" if field == "script" else "echo"
    text = f'{{"input":"x","model":"{model}","{field}":{value}}}'
    answer = await fetch(server, "POST", f"{API}/runs", raw=text.encode())
    expected = (201,) if levels < 100 and field != "script" else (422,)
    assert answer.code in expected, answer.body
    async with talking(server) as talk:
        await talk.say(f'{{"type":"start_run","clientId":"deep {field} {objects} {levels}",{text[1:]}')
        said = await talk.until(lambda frame: frame["type"] in ("ack", "failed"))
    assert said.get("code") == (None if expected == (201,) else "invalid_request")


@pytest.mark.parametrize("address", ["threads", "approvals/apr_x", "runs/run_x/inputs/q"])
async def test_no_route_falls_over_deep_bodies(server: LiveServer, address: str) -> None:
    for levels in (450, 600, 950, 20_000):
        answer = await fetch(server, "POST", f"{API}/{address}", raw=nested(levels, objects=True).encode())
        assert answer.code == 422, (levels, answer.body)


@pytest.mark.parametrize(
    ("number", "kept"),
    [("9" * 400, int("9" * 400)), (f"-{2**63 + 1}", -(2**63) - 1), ("9" * 5_000, None), ("1e400", None), ("NaN", None)],
)
async def test_numbers_of_any_size_come_back_or_are_refused(server: LiveServer, number: str, kept: int | None) -> None:
    body = f'{{"metadata":{{"number":{number}}}}}'.encode()
    answer = await fetch(server, "POST", f"{API}/threads", raw=body)
    if kept is None:
        assert answer.code == 422
        return
    assert answer.code == 201, answer.body
    thread_id = json.loads(answer.body)["threadId"]
    for path in (f"threads/{thread_id}", "threads"):
        status, found = await api(server, "GET", path)
        assert status == 200
        thread = found if "threadId" in found else next(one for one in found["items"] if one["threadId"] == thread_id)
        assert thread["metadata"]["number"] == kept


@pytest.mark.parametrize(
    "id_", ["%2e%2e", "..%2f..%2fetc%2fpasswd", "%252e%252e", "a%00b", "a" * 300, "%F0%9F%A6%86", "%ED%A0%80", "%ff",
            "a%0d%0aX:%20y", "%27%20OR%20%271%27=%271", "*", "a%20b", "%e2%80%ae"]
)  # fmt: skip
async def test_an_id_that_is_none_is_not_found_anywhere(server: LiveServer, id_: str) -> None:
    _, document = await api(server, "GET", "openapi.json")
    for path, verbs in document["paths"].items():
        if "{" not in path:
            continue
        address = "/".join(id_ if part.startswith("{") else part for part in path.lstrip("/").split("/"))
        for verb in set(verbs) & {"get", "post", "put", "patch", "delete"}:
            raw = b'{"approved":true,"content":"x"}' if verb in ("post", "put", "patch") else None
            answer = await fetch(server, verb.upper(), f"{API}/{address}", raw=raw)
            # A body is looked at before the address: then it is the body that is refused.
            assert answer.code in (400, 404, 422), (verb, address, answer.body)
            assert set(json.loads(answer.body)) <= {"code", "message", "details"}


async def test_text_that_no_store_can_hold_is_replaced_or_refused(server: LiveServer) -> None:
    body = b'{"title":"a\\u0000b","metadata":{"k\\u0000":"\\u0000"}}'
    answer = await fetch(server, "POST", f"{API}/threads", raw=body)
    thread: dict[str, Any] = json.loads(answer.body)
    assert (answer.code, thread["title"], thread["metadata"]) == (201, "a\ufffdb", {"k\ufffd": "\ufffd"})
    for surrogate in (b'{"title":"\\ud800"}', b'{"title":"\xed\xa0\x80"}', b'{"title":"\xff"}'):
        answer = await fetch(server, "POST", f"{API}/threads", raw=surrogate)
        assert answer.code == 422, answer.body


@pytest.mark.parametrize("address", ["runs", "threads", "approvals/apr_x"])
async def test_a_body_that_is_too_large_is_refused(server: LiveServer, address: str) -> None:
    answer = await fetch(server, "POST", f"{API}/{address}", raw=b" " * (2 << 20), headers=headers_of())
    assert (answer.code, json.loads(answer.body)["code"]) == (413, "too_large")


async def test_who_sends_a_command_that_is_none_is_told_which(server: LiveServer) -> None:
    async with talking(server) as talk:
        for number, wrong in enumerate(
            (
                {"type": "start_run", "input": 5},
                {"type": "nonsense"},
                {"type": "user_input"},
                {"type": "follow", "runId": []},
            )
        ):
            await talk.say({**wrong, "clientId": f"c{number}"})
            refusal = await talk.until("failed", 5)
            assert (refusal["code"], refusal["clientId"]) == ("invalid_request", f"c{number}")
        await talk.say({"type": "nonsense", "clientId": "x" * 5_000})
        assert "clientId" not in await talk.until("failed", 5)
