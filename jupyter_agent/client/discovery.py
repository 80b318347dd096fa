"""Finds the gateway: from the kernel's environment, else among the running servers of this user.

Inside a kernel only the token that the server minted for it is used, never a stronger one that could be found.
"""

import json
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from ..exceptions import GatewayNotFound, Unauthenticated
from .shell import in_kernel

URL_VARIABLE = "JUPYTER_AGENT_URL"
TOKEN_VARIABLE = "JUPYTER_AGENT_TOKEN"  # noqa: S105 - the name of a variable
START_COMMAND = "jupyter lab"


class Gateway(Struct, frozen=True, kw_only=True):
    """Where a gateway is and what opens it. `url` is the server's own base URL and ends with a slash, `root` the
    server's folder where known."""

    url: str
    token: str
    source: str
    root: str = ""

    @property
    def api_url(self) -> str:
        return f"{self.url}jupyter-agent/api/"

    @property
    def socket_url(self) -> str:
        return f"ws{self.url.removeprefix('http')}jupyter-agent/ws"

    def __repr__(self) -> str:
        return f"<Gateway {self.url} from {self.source}>"


Probe = Callable[[Gateway], Awaitable[bool]]
"""Asks whether a gateway answers there. Raises Unauthenticated where it does but the token does not hold."""


def gateway_at(url: str, token: str, *, source: str, root: str = "") -> Gateway:
    """Returns the gateway of a server's address; one that already names `/jupyter-agent` is understood too.

    Raises GatewayNotFound for what is no http address.
    """
    base = url.split("?", 1)[0].rstrip("/").removesuffix("/jupyter-agent").removesuffix("/lab").removesuffix("/tree")
    if not base.startswith(("http://", "https://")):
        raise GatewayNotFound(
            f"{url!r} is no address of a Jupyter server: it starts with http:// or https://, "
            "for example http://localhost:8888/."
        )
    return Gateway(url=f"{base}/", token=token, source=source, root=root)


async def find_gateway(probe: Probe, *, before: Gateway | None = None) -> Gateway:
    """Returns the gateway of this process. Raises GatewayNotFound naming the command that starts one.

    After `before` was found only that server is looked for, under its new token or port: another one would not know
    our runs.
    """
    if (url := os.environ.get(URL_VARIABLE)) is not None:
        return gateway_at(url, os.environ.get(TOKEN_VARIABLE, ""), source=URL_VARIABLE)
    if in_kernel():
        raise GatewayNotFound(
            "This kernel was not started by a Jupyter server that has jupyter_agent, so there is no gateway to talk "
            f"to. Start a server with `{START_COMMAND}` in an environment where jupyter_agent is installed and open "
            "the notebook there, or restart this kernel if it is older than the installation."
        )
    if before is not None:
        return next(
            (
                gateway
                for gateway in running_servers()
                if gateway.url == before.url or gateway.root == before.root != ""
            ),
            before,
        )
    silent, refusing = [], []
    for gateway in running_servers():
        try:
            if await probe(gateway):
                return gateway
            silent.append(gateway.url)
        except Unauthenticated:
            refusing.append(gateway.url)
    raise GatewayNotFound(_not_found(silent, refusing))


def _not_found(silent: list[str], refusing: list[str]) -> str:
    said = "No running Jupyter server of yours answers with jupyter_agent. "
    if refusing:
        said += f"{_listed(refusing)} has it but takes no token from its runtime file: connect with its own token. "
    if silent:
        said += f"{_listed(silent)} runs without it: install jupyter_agent there and restart it. "
    return f"{said}Start one with `{START_COMMAND}`, or name one: `ja.connect(url, token)`."


def _listed(urls: list[str]) -> str:
    return " and ".join(urls)


def running_servers() -> Iterator[Gateway]:
    """Yields this user's running Jupyter servers, those whose folder we are in first, then the newest.

    Read from the runtime files that each server leaves, mode 0600; files of other users are passed over.
    """
    found = [(_distance(info), -path.stat().st_mtime, path.name, info) for path, info in _runtime_files()]
    for _, _, name, info in sorted(found, key=lambda row: row[:3]):
        yield gateway_at(info["url"], info.get("token") or "", source=name, root=str(info.get("root_dir", "")))


def gateway_of_process(pid: int) -> Gateway | None:
    """Returns the running Jupyter server of this user that is that process, None where it is none."""
    found = ((path, info) for path, info in _runtime_files() if info.get("pid") == pid)
    for path, info in found:
        root = str(info.get("root_dir", ""))
        return gateway_at(info["url"], info.get("token") or "", source=path.name, root=root)
    return None


def _runtime_files() -> Iterator[tuple[Path, dict[str, Any]]]:
    from jupyter_core.paths import jupyter_runtime_dir

    folder = Path(jupyter_runtime_dir())
    for path in folder.glob("jpserver-*.json") if folder.is_dir() else ():
        try:
            if hasattr(os, "getuid") and path.stat().st_uid != os.getuid():
                continue
            info = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # a server that is just starting or stopping
        if isinstance(info, dict) and str(info.get("url", "")).startswith("http") and _is_alive(info.get("pid")):
            yield path, info


def _is_alive(pid: Any) -> bool:
    if not isinstance(pid, int) or pid <= 0 or os.name != "posix":
        return os.name != "posix"
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _distance(info: dict[str, Any]) -> int:
    """How many folders the server's root lies above ours; a large number where we are not inside of it."""
    root, here = Path(str(info.get("root_dir") or "/nowhere")), Path.cwd()
    return len(here.relative_to(root).parts) if here.is_relative_to(root) else 1_000
