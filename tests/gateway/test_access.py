"""Who may do what: strangers nothing, pages with a cookie only with its XSRF token, others' objects as if absent."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from jupyter_agent.gateway.openapi import VERBS
from jupyter_agent.gateway.routes import ROUTES
from tests.gateway.talk import API, ASKS, QUICK, OtherServer, Refused, Talk, api, connected, cookie_of, fetch, talking
from tests.live_server import TOKEN, LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANYTHING = "0" * 64
PATHS = [pattern for pattern, _ in ROUTES]
OPERATIONS = [
    (verb, pattern)
    for pattern, handler in ROUTES
    for verb in VERBS
    if getattr(getattr(handler, verb), "__operation__", None) is not None
]


def path_of(pattern: str, **ids: str) -> str:
    """Returns the path of a route with these ids in their places, or with anything."""
    return API + re.sub(r"\(\?P<(\w+)>[^)]*\)", lambda group: ids.get(group[1], ANYTHING), pattern)


# --- strangers ------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["1", "0"], ids=["lenient", "strict"])
async def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveServer]:
    environment = {
        "JUPYTER_SERVER_ALLOW_UNAUTHENTICATED_ACCESS": request.param,
        # A verb of ours without its decorator is an error, not a line in the log.
        "PYTHONWARNINGS": "error::jupyter_server.utils.JupyterServerAuthWarning",
    }
    async with LiveServer(tmp_path_factory.mktemp("either"), environment=environment) as server:
        yield server


@pytest.mark.parametrize("verb", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("pattern", PATHS)
async def test_a_stranger_is_refused_everywhere(either: LiveServer, pattern: str, verb: str) -> None:
    for headers in ({}, {"Authorization": "token wrong"}, {"Authorization": "token "}, {"Cookie": "username=x"}):
        body = None if verb in ("GET", "HEAD", "DELETE", "OPTIONS") else {}
        answer = await fetch(either, verb, path_of(pattern), body, headers=headers)
        assert answer.code in (401, 403, 404), (verb, pattern, headers, answer.code)


async def test_the_strict_server_has_nothing_to_complain_of(either: LiveServer) -> None:
    assert "without @allow_unauthenticated" not in either.log.read_text()


@pytest.mark.parametrize(
    ("verb", "pattern"), [(verb, pattern) for verb, pattern in OPERATIONS if verb != "get"], ids=lambda one: one
)
async def test_a_cookie_alone_changes_nothing(either: LiveServer, verb: str, pattern: str) -> None:
    cookie = await cookie_of(either)
    answer = await fetch(either, verb.upper(), path_of(pattern), {}, headers=cookie)
    assert answer.code == 403, answer.body


async def test_a_cookie_with_its_xsrf_token_does(either: LiveServer) -> None:
    cookie = await cookie_of(either)
    xsrf = next(part.split("=", 1)[1] for part in cookie["Cookie"].split("; ") if part.startswith("_xsrf="))
    headers = {**cookie, "X-XSRFToken": xsrf, "Origin": either.url}
    status, thread = await api(either, "POST", "threads", {"title": "By a page"}, headers=headers)
    assert (status, thread["title"]) == (201, "By a page")
    status, _ = await api(either, "POST", "threads", {}, headers={**headers, "Origin": "https://evil.example"})
    assert status in (403, 404)


# --- looking changes nothing ----------------------------------------------------------------------------------------


def state_of(folder: Path) -> dict[str, Any]:
    """Every file of the data folder but the database's own scratch files."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix not in (".db-wal", ".db-shm")]
    return {str(path): path.read_bytes() for path in files if not path.name.endswith(("-wal", "-shm"))}


async def test_looking_changes_nothing(server: LiveServer) -> None:
    run_id = await server.start_run(QUICK)
    _, run = await api(server, "GET", f"runs/{run_id}?wait=30")
    async with asyncio.timeout(20):
        while "detailBlob" not in run or [*server.home.rglob("*.jsonl")]:
            await asyncio.sleep(0.1)
            _, run = await api(server, "GET", f"runs/{run_id}")
    _, turns = await api(server, "GET", f"runs/{run_id}/turns")
    ids = {"run_id": run_id, "thread_id": run["threadId"], "digest": turns["items"][0]["blob"]}
    data = server.home / "data"
    before = state_of(data)
    for verb, pattern in OPERATIONS:
        if verb == "get":
            answer = await fetch(server, "GET", path_of(pattern, **ids))
            assert answer.code in (200, 404), (pattern, answer.code)
    assert state_of(data) == before


# --- two people on one server ---------------------------------------------------------------------------------------

PROVIDER = '''
from jupyter_server.auth import Authorizer, IdentityProvider, User

class TwoPeople(IdentityProvider):
    def get_user(self, handler):
        token = self.get_token(handler)
        for name in ("alice", "mallory"):
            if token == f"token-of-{name}":
                handler._token_authenticated = True
                return User(name)
        return None

class NoApprovals(Authorizer):
    """Lets everybody do everything but decide approvals; mallory may not even look at threads."""
    def is_authorized(self, handler, user, action, resource):
        if resource == "jupyter_agent:approvals" and action == "execute":
            return False
        return not (user.username == "mallory" and resource == "jupyter_agent:threads")
'''


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveServer]:
    async with people_server(tmp_path_factory.mktemp("shared")) as server:
        yield server


def people_server(home: Path, *options: str) -> LiveServer:
    (home / "people.py").write_text(PROVIDER)
    return OtherServer(
        home,
        options=("--ServerApp.identity_provider_class=people.TwoPeople", *options),
        environment={"PYTHONPATH": str(home)},
        token="token-of-alice",
    )


def as_(name: str) -> dict[str, str]:
    return {"Authorization": f"token token-of-{name}"}


async def objects_of_alice(server: LiveServer) -> dict[str, str]:
    """A run that waits for an approval and a question, and what belongs to it."""
    async with talking(server, token="token-of-alice") as talk:
        started = await talk.command("start_run", input="x", model="scripted", script=ASKS)
        asked = await talk.until("tool_confirmation_request")
    attachment = await fetch(server, "POST", f"{API}/blobs", raw=b"alice's own", headers=as_("alice"))
    rating = f"{API}/runs/{started['result']['runId']}/feedback"
    rated = await fetch(server, "POST", rating, {"rating": 1}, headers=as_("alice"))
    passing = await fetch(server, "POST", f"{API}/workflow-runs", {"workflow": "hers"}, headers=as_("alice"))
    return {
        "workflow_run_id": json.loads(passing.body)["workflowRunId"],
        "run_id": started["result"]["runId"],
        "thread_id": started["result"]["threadId"],
        "approval_id": asked["approvalId"],
        "request_id": "q1",
        "digest": json.loads(attachment.body)["blob"],
        "feedback_id": json.loads(rated.body)["feedbackId"],
    }


BODIES = {
    ("patch", "<thread_id>"): {"title": "stolen"},
    ("post", "<approval_id>"): {"approved": True},
    ("post", "<request_id>"): {"content": "mine"},
    ("post", "/feedback"): {"rating": -1},
    ("post", "/calls/"): {"callIds": ["call_1"]},
    ("post", "/calls"): {"calls": [{"prompt": "x", "model": "echo"}], "start": True},
    ("post", "/steps/"): {"approved": True},
    ("post", "/steps"): {"steps": [{"token": "tok_1", "name": "f", "source": "def f(): …", "answer": "1"}]},
    ("put", "/budget"): {"tokens": 5},
}


@pytest.mark.parametrize(
    ("verb", "pattern"),
    [
        one
        for one in OPERATIONS
        if "<" in one[1] and "<workflow>" not in one[1] and (one[0] != "put" or "/budget" in one[1])
    ],
    ids=lambda one: one,
)
async def test_what_belongs_to_somebody_else_is_as_if_absent(shared: LiveServer, verb: str, pattern: str) -> None:
    ids = await objects_of_alice(shared)
    body = next((body for (of, name), body in BODIES.items() if of == verb and name in pattern), None)
    theirs = await fetch(shared, verb.upper(), path_of(pattern, **ids), body, headers=as_("mallory"))
    nobodys = {name: "f" * 64 if name == "digest" else f"{value}0" for name, value in ids.items()}
    absent = await fetch(shared, verb.upper(), path_of(pattern, **nobodys), body, headers=as_("mallory"))
    assert theirs.code == absent.code == 404
    first, second = json.loads(theirs.body), json.loads(absent.body)
    assert first["code"] == second["code"]
    for name, value in ids.items():
        first["message"] = first["message"].replace(value, name)
        second["message"] = second["message"].replace(nobodys[name], name)
    assert first == second
    owners = await fetch(shared, "GET", f"{API}/runs/{ids['run_id']}", headers=as_("alice"))
    assert json.loads(owners.body)["status"] == "waiting_confirmation"
    await fetch(shared, "POST", f"{API}/runs/{ids['run_id']}/interrupt", headers=as_("alice"))


async def test_nobody_follows_answers_or_takes_the_run_of_somebody_else(shared: LiveServer) -> None:
    ids = await objects_of_alice(shared)
    run_id = ids["run_id"]
    _, page = await api(shared, "GET", f"runs/{run_id}/events", headers=as_("alice"))
    cursor = page["items"][0]["id"]
    async with connected(shared, f"chatKey={run_id}&lastEventId={cursor}") as talk:
        await talk.say({"type": "auth", "token": "token-of-mallory"})
        assert await talk.ended() == 4401
        assert [frame["type"] for frame in talk.frames] == ["auth_failed"]
    async with talking(shared, token="token-of-mallory") as talk:
        for kind, fields in (
            ("follow", {"lastEventId": cursor}),
            ("interrupt", {}),
            ("tool_confirmation", {"toolCallId": "x", "approvalId": ids["approval_id"], "approved": True}),
            ("user_input", {"requestId": "x", "content": "y"}),
            ("client_tool_result", {"toolCallId": "x", "result": "y"}),
        ):
            refused = await talk.command(kind, runId=run_id, clientId=kind, **fields)
            assert (refused["type"], refused["code"]) == ("failed", "run_not_found"), kind
        for more in (
            {"threadId": ids["thread_id"]},
            {"model": f"replay:{run_id}"},
            {"followUpToRunId": run_id},
            {"input": [{"type": "image", "blob": ids["digest"], "mime": "image/png"}]},
        ):
            refused = await talk.command("start_run", clientId=str(more), **{"input": "x", "model": "echo"} | more)
            assert (refused["type"], refused["code"][-9:]) == ("failed", "not_found"), more
        await talk.command("follow", runId="*")
        await api(shared, "POST", f"runs/{run_id}/interrupt", headers=as_("alice"))
        assert await talk.silence(0.5) == []


async def test_the_authorizer_is_asked_with_the_right_question(tmp_path: Path) -> None:
    async with people_server(tmp_path, "--ServerApp.authorizer_class=people.NoApprovals") as server:
        for _ in range(2):
            # In both orders, and after other handlers have been asked.
            assert (await api(server, "GET", "threads", headers=as_("mallory")))[0] == 403
            assert (await api(server, "GET", "runs", headers=as_("mallory")))[0] == 200
            assert (await api(server, "GET", "threads", headers=as_("alice")))[0] == 200
            assert (await api(server, "POST", "threads", {}, headers=as_("mallory")))[0] == 403
        async with talking(server, token="token-of-alice") as talk:
            await talk.command("start_run", input="x", model="scripted", script=ASKS)
            asked = await talk.until("tool_confirmation_request")
            refused = await talk.command(
                "tool_confirmation", runId=asked["runId"], toolCallId=asked["toolCallId"], approved=True
            )
            assert refused["code"] == "forbidden"
        path = f"approvals/{asked['approvalId']}"
        assert (await api(server, "GET", path, headers=as_("alice")))[0] == 200
        assert (await api(server, "POST", path, {"approved": True}, headers=as_("alice")))[0] == 403


# --- servers without a token ----------------------------------------------------------------------------------------


async def start(talk: Talk, **more: Any) -> dict[str, Any]:
    return await talk.command("start_run", input="x", model="scripted", clientId=str(more), **more)


async def test_a_server_that_asks_nobody_is_for_chat_only(tmp_path: Path) -> None:
    options = ("--IdentityProvider.token=", "--PasswordIdentityProvider.hashed_password=")
    async with LiveServer(tmp_path, options=options, environment={"JUPYTER_TOKEN": ""}) as server:
        async with connected(server, headers={"Origin": server.url}) as talk:
            await talk.say({"type": "auth", "token": ""})
            await talk.until("auth_success")
            refused = await start(talk, script=QUICK, tools=["run_cell"])
            assert (refused["type"], "allow_insecure_server" in refused["message"]) == ("failed", True)
            started = await start(talk, script=ASKS)
            await talk.until("session_complete")
        assert started["type"] == "ack"
        [result] = [one["event"] for one in talk.of("agent_event") if one["event"]["kind"] == "tool_result"]
        assert result["isError"]
        assert not (server.root / "made.txt").exists()
        _, health = await api(server, "GET", "health", headers={})
        assert "allow_insecure_server" in health["toolsOffReason"]
        with pytest.raises(Refused, match="403"):
            async with connected(server, headers={"Origin": "https://evil.example"}):
                pass
        for token in ("", "anything"):
            async with connected(server, headers={"Sec-Fetch-Site": "none"}) as talk:
                await talk.say({"type": "auth", "token": token})
                frame = await talk.next()
                assert frame is not None
                assert frame["type"] == ("auth_failed" if token else "auth_success")


async def test_an_operator_can_accept_the_risk(tmp_path: Path) -> None:
    options = (
        "--IdentityProvider.token=",
        "--PasswordIdentityProvider.hashed_password=",
        "--AgentGateway.allow_insecure_server=True",
    )
    async with LiveServer(tmp_path, options=options, environment={"JUPYTER_TOKEN": ""}) as server:
        async with connected(server) as talk:
            await talk.say({"type": "auth", "token": ""})
            await start(talk, script=ASKS)
            asked = await talk.until("tool_confirmation_request")
            await talk.say({"type": "tool_confirmation", "runId": asked["runId"], "toolCallId": asked["toolCallId"],
                            "approved": True})  # fmt: skip
            await talk.until("session_complete")
        assert (server.root / "made.txt").exists()


@pytest.mark.parametrize("token", ["", None, 0, [], {}, True, "\0", "x" * 1_000_000, TOKEN])
async def test_a_server_with_a_password_only_takes_no_token(tmp_path: Path, token: Any) -> None:
    from jupyter_server.auth.security import passwd

    options = ("--IdentityProvider.token=", f"--PasswordIdentityProvider.hashed_password={passwd('secret')}")
    server = OtherServer(tmp_path, options=options, environment={"JUPYTER_TOKEN": ""}, ready=(403,))
    async with server, connected(server) as talk:
        await talk.say({"type": "auth", "token": token})
        assert await talk.ended() in (4401, 1009)
        assert not talk.of("auth_success")


async def test_a_credential_that_is_revoked_ends_its_connections(tmp_path: Path) -> None:
    (tmp_path / "revocable.py").write_text(
        """
from pathlib import Path
from jupyter_server.auth import IdentityProvider, User

class Revocable(IdentityProvider):
    def get_user(self, handler):
        known = (Path(__file__).parent / "tokens").read_text().split()
        if self.get_token(handler) in known:
            handler._token_authenticated = True
            return User("alice")
        return None
"""
    )
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{TOKEN} other")
    server = LiveServer(
        tmp_path,
        options=("--ServerApp.identity_provider_class=revocable.Revocable", "--AgentGateway.reverify_every_s=0.5"),
        environment={"PYTHONPATH": str(tmp_path)},
    )
    async with server, talking(server, token="other") as in_band:
        async with connected(server, headers={"Authorization": "token other"}) as explicit:
            await explicit.say({"type": "auth", "token": ""})
            await explicit.until("auth_success")
            await in_band.silence(1.2)
            assert in_band.code is None
            tokens.write_text(TOKEN)
            assert await in_band.ended() == 4401
            assert await explicit.ended() == 4401
        async with connected(server) as talk:
            await talk.say({"type": "auth", "token": "other"})
            assert await talk.ended() == 4401
