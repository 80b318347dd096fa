"""The gateway is found: from the environment, among running servers, or not at all."""

import json
import os
import subprocess
import sys

import pytest

from jupyter_agent.client.discovery import Gateway, find_gateway, gateway_at, running_servers
from jupyter_agent.exceptions import GatewayNotFound, Unauthenticated


@pytest.fixture(autouse=True)
def runtime(tmp_path, monkeypatch):
    """A runtime folder of this test's own, and no gateway in the environment."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder))
    monkeypatch.delenv("JUPYTER_AGENT_URL", raising=False)
    monkeypatch.delenv("JUPYTER_AGENT_TOKEN", raising=False)
    return folder


def leave(folder, name, port, *, pid=None, root="/elsewhere", age_s=0, **more):
    path = folder / f"jpserver-{name}.json"
    info = {"url": f"http://localhost:{port}/", "pid": pid or os.getpid(), "root_dir": str(root), "token": "secret"}
    info |= more
    path.write_text(json.dumps(info))
    os.utime(path, (1_700_000_000 - age_s, 1_700_000_000 - age_s))


async def yes(_: Gateway) -> bool:
    return True


async def no(_: Gateway) -> bool:
    return False


@pytest.mark.parametrize(
    "url",
    [
        "http://h:8888",
        "http://h:8888/",
        "http://h:8888/jupyter-agent/",
        "http://h:8888/lab?token=x",
        "http://h:8888/tree",
    ],
)
def test_an_address_is_understood_as_people_copy_it(url):
    gateway = gateway_at(url, "t", source="test")
    assert gateway.url == "http://h:8888/"
    assert gateway.api_url == "http://h:8888/jupyter-agent/api/"
    assert gateway.socket_url == "ws://h:8888/jupyter-agent/ws"


def test_prefixes_and_tls_are_respected():
    gateway = gateway_at("https://hub.example/user/ada/", "t", source="test")
    assert gateway.socket_url == "wss://hub.example/user/ada/jupyter-agent/ws"


def test_the_token_is_in_no_repr():
    assert "secret" not in repr(gateway_at("http://h/", "secret", source="test"))


def test_what_is_no_address_is_refused():
    with pytest.raises(GatewayNotFound, match="'localhost:8888' is no address"):
        gateway_at("localhost:8888", "t", source="test")


async def test_the_environment_comes_first(runtime, monkeypatch):
    leave(runtime, 1, 8888)
    monkeypatch.setenv("JUPYTER_AGENT_URL", "http://127.0.0.1:9999/base/")
    monkeypatch.setenv("JUPYTER_AGENT_TOKEN", "minted")
    found = await find_gateway(yes)
    assert (found.url, found.token) == ("http://127.0.0.1:9999/base/", "minted")


async def test_a_minted_token_that_is_missing_is_not_replaced_by_a_stronger_one(runtime, monkeypatch):
    leave(runtime, 1, 8888)
    monkeypatch.setenv("JUPYTER_AGENT_URL", "http://localhost:8888/")
    assert (await find_gateway(yes)).token == ""


def test_inside_a_kernel_no_servers_token_is_looked_for(runtime):
    """A kernel that no server of ours started has no gateway, though a server's token lies beside it."""
    leave(runtime, 1, 8888)
    code = (
        "import asyncio\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance(); shell.kernel = object()\n"
        "from jupyter_agent.client.discovery import find_gateway\n"
        "async def yes(_): return True\n"
        "try:\n    print(asyncio.run(find_gateway(yes)))\n"
        "except Exception as fault:\n    print(type(fault).__name__, fault)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("GatewayNotFound This kernel was not started by")
    assert "jupyter lab" in done.stdout


def test_servers_nearest_first_then_newest_and_never_the_dead(runtime, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    leave(runtime, "dead", 1, pid=gone.pid)
    leave(runtime, "old", 2, age_s=100)
    leave(runtime, "new", 3, age_s=10)
    leave(runtime, "above", 4, root=tmp_path.parent, age_s=500)
    leave(runtime, "here", 5, root=tmp_path, age_s=900)
    (runtime / "jpserver-half.json").write_text('{"url": "http://loc')
    (runtime / "jpserver-list.json").write_text("[]")
    assert [gateway.url for gateway in running_servers()] == [f"http://localhost:{port}/" for port in (5, 4, 3, 2)]


async def test_the_first_server_that_answers_is_taken(runtime):
    leave(runtime, "a", 1, age_s=1)
    leave(runtime, "b", 2, age_s=2)

    async def second(gateway: Gateway) -> bool:
        return gateway.url.endswith(":2/")

    assert (await find_gateway(second)).url == "http://localhost:2/"


async def test_after_a_restart_the_same_server_is_found_under_its_new_token_and_no_other(runtime):
    leave(runtime, "other", 9)
    before = Gateway(url="http://localhost:1/", token="old", source="x", root="/work")
    assert await find_gateway(yes, before=before) is before
    leave(runtime, "back", 2, root="/work", token="new")
    found = await find_gateway(yes, before=before)
    assert (found.url, found.token) == ("http://localhost:2/", "new")


async def test_nothing_found_says_what_to_do(runtime):
    with pytest.raises(GatewayNotFound, match=r"`jupyter lab`.*ja\.connect"):
        await find_gateway(no)
    leave(runtime, "plain", 7)
    with pytest.raises(GatewayNotFound, match="http://localhost:7/ runs without it: install jupyter_agent"):
        await find_gateway(no)

    async def refusing(_: Gateway) -> bool:
        raise Unauthenticated("no")

    with pytest.raises(GatewayNotFound, match="takes no token from its runtime file"):
        await find_gateway(refusing)
