"""On a JupyterHub: a real hub and a real single-user server, reached as a browser reaches them on one domain.

The hub's proxy is left out: the client sends each path to whoever would get it.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse

from tests.gateway.talk import ASKS, Talk, connected_to

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

ADMIN = "token-of-the-admin-of-these-tests"
PROXY = '''
from jupyterhub.proxy import Proxy

class NoProxy(Proxy):
    """Keeps the routes and moves nothing."""
    routes = {}
    async def start(self): ...
    async def stop(self): ...
    async def add_route(self, routespec, target, data):
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}
    async def delete_route(self, routespec):
        self.routes.pop(routespec, None)
    async def get_all_routes(self):
        return dict(self.routes)
'''
CONFIGURATION = """
c = get_config()
c.JupyterHub.proxy_class = "no_proxy.NoProxy"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "{home}/home/{{username}}"
c.JupyterHub.bind_url = "http://127.0.0.1:{public}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub}"
c.JupyterHub.db_url = "sqlite:///{home}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{home}/cookie"
c.JupyterHub.services = [{{"name": "admin", "api_token": "{admin}"}}]
c.JupyterHub.load_roles = [
    {{"name": "admins", "services": ["admin"], "scopes": ["admin:users", "admin:servers", "tokens", "access:servers"]}}
]
c.Spawner.ip = "127.0.0.1"
c.Spawner.port = {server}
c.Spawner.env_keep = ["PATH", "LANG"]
c.Spawner.args = ["--allow-root", "--debug", *{options!r}]
"""
EXTENSIONS = {"jupyter_agent": True} | dict.fromkeys(("jupyterlab", "jupyter_lsp", "notebook_shim"), False)


class Hub:
    """A hub with the server of alice. `jar` is the browser of alice after her login."""

    def __init__(self, home: Path, *options: str) -> None:
        from tests.live_server import free_port

        self.home = home
        self.hub, self.server, self.public = free_port(), free_port(), free_port()
        self.jar: dict[str, str] = {}
        self._options = [f"--ServerApp.jpserver_extensions={EXTENSIONS!r}", *options]
        self._http = AsyncHTTPClient(force_instance=True)

    async def __aenter__(self) -> "Hub":
        (self.home / "no_proxy.py").write_text(PROXY)
        (self.home / "jupyterhub_config.py").write_text(
            CONFIGURATION.format(
                home=self.home,
                public=self.public,
                hub=self.hub,
                server=self.server,
                admin=ADMIN,
                options=self._options,
            )
        )
        binaries = Path(sys.executable).parent
        environment = {
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "HOME": str(self.home),
            "PYTHONPATH": str(self.home), "LANG": "C.UTF-8",
        }  # fmt: skip
        with (self.home / "hub.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(binaries / "jupyterhub"), "-f", "jupyterhub_config.py", cwd=self.home, env=environment,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            await self._start_alice()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._http.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), 15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    @property
    def log(self) -> str:
        return (self.home / "hub.log").read_text()

    async def _start_alice(self) -> None:
        async with asyncio.timeout(90):
            while True:
                with contextlib.suppress(OSError):
                    if (await self.admin("POST", "users", {"usernames": ["alice", "mallory"]})).code in (201, 409):
                        break
                assert self._process.returncode is None, self.log[-3000:]
                await asyncio.sleep(0.2)
            await self.admin("POST", "users/alice/server")
            while True:
                alice = json.loads((await self.admin("GET", "users/alice")).body)
                if alice["servers"].get("", {}).get("ready"):
                    return
                await asyncio.sleep(0.2)

    async def admin(self, method: str, path: str, body: Any = None) -> HTTPResponse:
        """Asks the hub's API, as its admin."""
        request = HTTPRequest(
            f"http://127.0.0.1:{self.hub}/hub/api/{path}",
            method=method,
            headers={"Authorization": f"token {ADMIN}"},
            body=None if body is None else json.dumps(body),
            allow_nonstandard_methods=True,
            request_timeout=60,
        )
        return await self._http.fetch(request, raise_error=False)

    async def token_of(self, name: str, *scopes: str) -> str:
        """Returns a new token of a user."""
        answer = await self.admin("POST", f"users/{name}/tokens", {"scopes": scopes} if scopes else {})
        assert answer.code == 201, answer.body
        return str(json.loads(answer.body)["token"])

    async def browse(self, method: str, path: str, body: str | None = None, **headers: str) -> HTTPResponse:
        """Does one step of a browser: keeps cookies, and follows nothing."""
        port = self.server if path.startswith("/user/alice") else self.hub
        request = HTTPRequest(
            f"http://127.0.0.1:{port}{path}",
            method=method,
            headers={"Host": self.host, "Cookie": self.cookie, "Sec-Fetch-Mode": "navigate", **headers},
            body=body,
            follow_redirects=False,
            allow_nonstandard_methods=True,
        )
        answer = await self._http.fetch(request, raise_error=False)
        for one in answer.headers.get_list("Set-Cookie"):
            name, _, value = one.split(";", 1)[0].partition("=")
            self.jar[name] = value
        return answer

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.public}"

    @property
    def cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.jar.items())

    async def log_in(self) -> None:
        """Logs alice in, and through to her server."""
        await self.browse("GET", "/hub/login")
        form = f"username=alice&password=x&_xsrf={self.jar['_xsrf'].replace('|', '%7C')}"
        await self.browse("POST", "/hub/login", form, **{"Content-Type": "application/x-www-form-urlencoded"})
        path = "/user/alice/view/nothing.txt"
        for _ in range(10):
            answer = await self.browse("GET", path)
            if answer.code != 302:
                return
            path = answer.headers["Location"].removeprefix(f"http://{self.host}")
        raise AssertionError("The login goes round in circles.")

    def socket(self, **headers: str) -> Any:
        url = f"ws://127.0.0.1:{self.server}/user/alice/jupyter-agent/ws"
        return connected_to(url, headers={"Host": self.host, **headers})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    async with Hub(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


async def says(talk: Talk, token: str) -> int | str | None:
    await talk.say({"type": "auth", "token": token})
    frame = await talk.next()
    return "in" if frame is not None and frame["type"] == "auth_success" else await talk.ended()


async def test_a_cookie_alone_does_not_open_the_socket(hub: Hub) -> None:
    """A page of another user on the same domain would send it just the same."""
    await hub.log_in()
    page = await hub.browse("GET", "/user/alice/api/status")
    assert page.code == 200, "the cookie itself is good"
    for headers in ({"Origin": f"http://{hub.host}"}, {}):
        async with hub.socket(Cookie=hub.cookie, **headers) as talk:
            assert await says(talk, "") == 4401


@pytest.mark.parametrize(
    ("of", "scopes", "expected"),
    [
        ("alice", (), "in"),
        ("alice", ("access:servers!user=alice",), "in"),
        ("alice", ("read:users!user=alice",), 4401),
        ("mallory", (), 4401),
    ],
)
async def test_a_token_opens_it_as_far_as_its_scopes_reach(hub: Hub, of: str, scopes: Any, expected: Any) -> None:
    token = await hub.token_of(of, *scopes)
    async with hub.socket() as talk:
        assert await says(talk, token) == expected
    if expected == "in":
        async with hub.socket(Authorization=f"token {token}") as talk:
            assert await says(talk, "") == "in"


async def test_runs_belong_to_the_hub_user(hub: Hub) -> None:
    token = await hub.token_of("alice")
    async with hub.socket() as talk:
        await says(talk, token)
        started = await talk.command("start_run", input="x", model="echo")
        assert started["result"]["userId"] == "alice"
        await talk.until("session_complete")


async def test_the_servers_own_token_is_worth_a_kernels(hub: Hub) -> None:
    token = await hub.token_of("alice")
    alice = {"Authorization": f"token {token}", "Host": hub.host}
    found = hub.home / "found"
    code = f"import os; open({str(found)!r}, 'w').write(os.environ['JUPYTERHUB_API_TOKEN'])"
    script = {"turns": [{"calls": [{"name": "run_cell", "arguments": {"code": code}}]}, {"text": "Done."}]}
    async with hub.socket(**alice) as talk:
        await says(talk, "")
        await talk.command("start_run", input="x", model="scripted", script=script)
        asked = await talk.until("tool_confirmation_request")
        await talk.say({"type": "tool_confirmation", "runId": asked["runId"], "toolCallId": asked["toolCallId"],
                        "approved": True})  # fmt: skip
        await talk.until("session_complete", 60)
    async with hub.socket() as talk:
        assert await says(talk, found.read_text()) == "in"
        started = await talk.command("start_run", input="x", model="scripted", script=ASKS)
        assert started["result"]["userId"] == "alice"
        asked = await talk.until("tool_confirmation_request")
        refused = await talk.command("tool_confirmation", runId=asked["runId"], toolCallId=asked["toolCallId"],
                                     approved=True)  # fmt: skip
        assert refused["code"] == "forbidden"
        await talk.command("interrupt", runId=asked["runId"], clientId="stop")


async def test_an_operator_with_a_domain_for_each_user_can_trust_cookies(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    async with Hub(tmp_path_factory.mktemp("trusting"), "--AgentGateway.allow_cookie_ws=always") as hub:
        await hub.log_in()
        async with hub.socket(Cookie=hub.cookie, Origin=f"http://{hub.host}") as talk:
            assert await says(talk, "") == "in"
