"""The handshake, row by row: who comes with what from where, under both values of the settings that matter."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.gateway.talk import Refused, connected, cookie_of, headers_of
from tests.live_server import TOKEN, LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPEN = "auth_success"
CONFIGURATIONS = [
    ("", "1"),
    ("", "0"),
    ("*", "1"),
    ("*", "0"),
]


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=CONFIGURATIONS, ids=lambda one: f"{one[0]}-{one[1]}"
)
async def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveServer]:
    origin, unauthenticated = request.param
    server = LiveServer(
        tmp_path_factory.mktemp("server"),
        options=(f"--ServerApp.allow_origin={origin}",) if origin else (),
        environment={"JUPYTER_SERVER_ALLOW_UNAUTHENTICATED_ACCESS": unauthenticated},
    )
    server.lets_all_origins_in = origin == "*"  # type: ignore[attr-defined]
    async with server:
        yield server


async def outcome(
    server: LiveServer, *said: Any, headers: dict[str, str] | None = None, host: str | None = None
) -> Any:
    """Returns `auth_success`, the close code, or the HTTP status of the refusal as `"HTTP 403"`."""
    try:
        async with connected(server, headers=headers, host=host) as talk:
            for frame in said:
                await talk.say(frame)
            first = await talk.next()
            if first is not None and first["type"] == OPEN:
                return OPEN
            assert first is None or first["type"] == "auth_failed", first
            return await talk.ended()
    except Refused as refusal:
        return str(refusal)


def auth(token: Any) -> dict[str, Any]:
    return {"type": "auth", "token": token}


async def test_a_stranger_with_a_good_token_is_let_in(server: LiveServer) -> None:
    assert await outcome(server, auth(TOKEN)) == OPEN


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], f"{TOKEN} ", TOKEN.upper(), "ü" * 10, "\0", "x" * 3_000])
async def test_a_stranger_with_another_token_is_not(server: LiveServer, token: str) -> None:
    assert await outcome(server, auth(token)) == 4401


@pytest.mark.parametrize("token", [None, 0, [], {}, True, 1.5])
async def test_a_token_is_a_text(server: LiveServer, token: Any) -> None:
    assert await outcome(server, auth(token)) == 4401


async def test_a_lone_surrogate_is_no_token(server: LiveServer) -> None:
    assert await outcome(server, '{"type":"auth","token":"\\ud800"}') in (4400, 4401)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ('{"type":"heartbeat"}', 4401),
        ('{"type":"interrupt"}', 4401),
        ('{"type":"start_run","input":"hi"}', 4401),
        ('{"type":"follow","runId":"*"}', 4401),
        ('{"type":"resume","lastEventId":"a-1-1"}', 4401),
        ('{"type":"tool_confirmation","toolCallId":"x","approved":true}', 4401),
        ('{"type":"user_input","requestId":"x","content":"y"}', 4401),
        ('{"type":"client_tool_result","runId":"r","toolCallId":"x","result":"y"}', 4401),
        ("not json", 4400),
        ("[]", 4401),
        ("null", 4401),
        (f'{{"type":"auth","token":"wrong","token":"{TOKEN}"}}', 4401),
        (f'{{"type":"auth","token":"{TOKEN}","token":"wrong"}}', 4401),
        (json.dumps({"type": "auth", "token": "x" * 10_000}), 1009),
        (b"\xff\xfe", 4400),
    ],
)
async def test_the_first_frame_of_a_stranger_is_auth_or_the_end(server: LiveServer, frame: Any, code: int) -> None:
    assert await outcome(server, frame) == code


async def test_rights_that_a_client_claims_are_not_read(server: LiveServer) -> None:
    claims = {"role": "admin", "scopes": ["*"], "userId": "root", "isAdmin": True, "can_approve": True}
    assert await outcome(server, {**auth("wrong"), **claims}) == 4401
    assert await outcome(server, {**auth(TOKEN), **claims}) == OPEN


async def test_a_cookie_opens_the_socket_for_the_servers_own_page(server: LiveServer) -> None:
    cookie = await cookie_of(server)
    assert await outcome(server, auth(""), headers={**cookie, "Origin": server.url}) == OPEN


async def test_a_cookie_without_an_origin_is_a_script(server: LiveServer) -> None:
    assert await outcome(server, auth(""), headers=await cookie_of(server)) == OPEN


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:3000", "null", "other scheme", "sibling"])
async def test_a_cookie_counts_for_nothing_from_elsewhere(server: LiveServer, origin: str) -> None:
    named = {"other scheme": server.url.replace("http:", "https:"), "sibling": f"http://x.localhost:{server.port}"}
    headers = {**await cookie_of(server), "Origin": named.get(origin, origin)}
    expected = 4401 if server.lets_all_origins_in else "HTTP 403"  # type: ignore[attr-defined]
    assert await outcome(server, auth(""), headers=headers) == expected


async def test_a_cross_site_fetch_without_an_origin_is_refused(server: LiveServer) -> None:
    headers = {**await cookie_of(server), "Sec-Fetch-Site": "cross-site"}
    assert await outcome(server, auth(""), headers=headers) == "HTTP 403"


async def test_a_token_in_the_header_counts_from_everywhere(server: LiveServer) -> None:
    assert await outcome(server, auth(""), headers=headers_of(Origin="https://evil.example")) == OPEN


async def test_a_token_in_the_frame_needs_an_origin_that_is_let_in(server: LiveServer) -> None:
    expected = OPEN if server.lets_all_origins_in else "HTTP 403"  # type: ignore[attr-defined]
    assert await outcome(server, auth(TOKEN), headers={"Origin": "https://evil.example"}) == expected


async def test_a_foreign_host_is_refused(server: LiveServer) -> None:
    host = f"evil.example:{server.port}"
    headers = headers_of(Origin=f"http://{host}")
    assert await outcome(server, auth(""), headers=headers, host=host) == "HTTP 403"


async def test_a_wrong_token_beside_a_good_cookie_is_not_passed_over(server: LiveServer) -> None:
    headers = {**await cookie_of(server), "Origin": server.url}
    assert await outcome(server, auth("wrong"), headers=headers) == 4401


async def test_a_silent_stranger_is_sent_away(server: LiveServer) -> None:
    async with asyncio.timeout(15):
        assert await outcome(server) == 4408


async def test_the_socket_has_no_other_verbs(server: LiveServer) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        status, _ = await server.request(method, "jupyter-agent/ws", {})
        assert status in (403, 404, 405), method
