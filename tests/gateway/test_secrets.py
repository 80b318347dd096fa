"""Canaries in every secret, everything said at the most talkative level, and not one of them found afterwards."""

import asyncio
from pathlib import Path

import pytest

from jupyter_agent.gateway.kernel_tokens import PREFIX
from tests.gateway.talk import ASKS, QUICK, OtherServer, Refused, api, connected, cookie_of, fetch, headers_of, talking
from tests.live_server import TOKEN

TOKEN_CANARY = "CANARY-token-4f1d2c8e7b6a"
KEY_CANARY = "CANARY-key-9a8b7c6d5e4f"
QUERY_CANARY = "CANARY-query-1a2b3c4d5e6f"
WRONG_CANARY = "CANARY-wrong-6f5e4d3c2b1a"
PROVIDERS = {"mine": {"base_url": "http://127.0.0.1:9/v1", "api_key_env": "MINE_API_KEY"}}
CANARIES = (TOKEN_CANARY, KEY_CANARY, QUERY_CANARY, WRONG_CANARY)


def found_in(folder: Path, *words: str) -> list[str]:
    """Names every file that holds one of the words, Jupyter's own runtime files apart."""
    files = [path for path in folder.rglob("*") if path.is_file() and "runtime" not in path.parts]
    return [f"{path}: {word}" for path in files for word in words if word.encode() in path.read_bytes()]


async def test_no_secret_is_written_anywhere(tmp_path: Path) -> None:
    server = OtherServer(
        tmp_path,
        token=TOKEN_CANARY,
        options=("--debug", f"--AgentGateway.base_urls={PROVIDERS}"),
        environment={"JUPYTER_TOKEN": TOKEN_CANARY, "MINE_API_KEY": KEY_CANARY},
    )
    async with server:
        headers = headers_of(TOKEN_CANARY)
        for script in (QUICK, ASKS):
            run_id = await server.start_run(script)
            async with talking(server, f"chatKey={run_id}&secret={QUERY_CANARY}", token=TOKEN_CANARY) as talk:
                if script is ASKS:
                    asked = await talk.until("tool_confirmation_request")
                    await talk.say({"type": "tool_confirmation", "toolCallId": asked["toolCallId"], "approved": True})
                await talk.until("session_complete")
        # Everything that goes wrong, with a secret in it.
        async with connected(server, f"chatKey={run_id}") as talk:
            await talk.say({"type": "auth", "token": WRONG_CANARY})
            await talk.ended()
        for given in (f"token {WRONG_CANARY}", f"Bearer {WRONG_CANARY}"):
            await fetch(server, "GET", "jupyter-agent/api/runs", headers={"Authorization": given})
        with pytest.raises(Refused):
            async with connected(server, f"token={WRONG_CANARY}", headers={"Origin": "https://evil.example"}):
                pass
        await fetch(server, "GET", f"jupyter-agent/api/runs?token={TOKEN_CANARY}", headers={})
        await fetch(server, "POST", "jupyter-agent/api/runs", headers=headers, raw=b"{")
        status, run = await api(server, "POST", "runs", {"input": "hi", "model": "mine:x"}, headers=headers)
        assert status == 201, run
        status, run = await api(server, "GET", f"runs/{run['runId']}?wait=60", headers=headers)
        assert run["status"] == "error"
        assert KEY_CANARY not in str(run)
        script = {"turns": [{"calls": [{"name": "run_cell", "arguments": {"code": "import os; os.environ"}}]}]}
        run_id = await server.start_run(script)
        async with talking(server, f"chatKey={run_id}", token=TOKEN_CANARY) as talk:
            asked = await talk.until("tool_confirmation_request")
            await talk.say({"type": "tool_confirmation", "toolCallId": asked["toolCallId"], "approved": True})
            await talk.until("session_complete", 60)
        assert not any(canary in text for text in talk.heard for canary in (*CANARIES, PREFIX))
        await asyncio.sleep(0.5)
    assert found_in(tmp_path, TOKEN_CANARY, KEY_CANARY, WRONG_CANARY, PREFIX) == []


async def test_where_a_client_stands_is_not_written_to_the_log(tmp_path: Path) -> None:
    async with OtherServer(tmp_path, options=("--debug",)) as server:
        run_id = await server.start_run(QUICK)
        await api(server, "GET", f"runs/{run_id}?wait=20")
        async with talking(server, f"chatKey={run_id}&lastEventId=a-1-1") as talk:
            await talk.until("replay_complete")
        cookie = await cookie_of(server)
        with pytest.raises(Refused):
            async with connected(server, f"chatKey={run_id}", headers={**cookie, "Origin": "https://evil.example"}):
                pass
        said = server.log.read_text()
        assert f"chatKey={run_id}" not in said
        assert "chatKey=[secret]" in said
        assert TOKEN not in said


def test_what_is_known_to_be_secret_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    from jupyter_agent.gateway.redaction import Redaction

    monkeypatch.setenv("SOME_API_KEY", "sk-of-somebody")
    monkeypatch.setenv("KEYBOARD", "qwertyuiop")
    redact = Redaction(lambda: ["the-server-token"])
    said = f"sk-of-somebody the-server-token qwertyuiop {PREFIX}abcDEF-_1 Authorization: Bearer unknown-one"
    assert redact(said) == "[secret] [secret] qwertyuiop [secret] Authorization: Bearer [secret]"
