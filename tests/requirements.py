"""What some tests need of the machine, and what happens where it is missing.

A test skips with its reason, or fails where `JUPYTER_AGENT_REQUIRE` names what is missing. CI names them all:
`postgres,redis,chromium,aimock`.
"""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

POSTGRES_FOLDERS = "/usr/lib/postgresql/*/bin"
"""Where Debian keeps the server's programs, outside of the path."""


def require(name: str) -> Path:
    """Returns the program of `postgres`, `redis`, `chromium` or `aimock`; skips, or fails where it must be there."""
    programs = {"postgres": find_initdb, "redis": find_redis, "chromium": find_chromium, "aimock": find_npm}
    found = programs[name]()
    return found or lacking(name, f"{name} is not installed on this machine")


def lacking(name: str, reason: str) -> NoReturn:
    """Skips the test for this reason, or fails it where what is named must be there."""
    if name in os.environ.get("JUPYTER_AGENT_REQUIRE", "").split(","):
        pytest.fail(f"{reason}, and JUPYTER_AGENT_REQUIRE names it.", pytrace=False)
    pytest.skip(f"{reason}.")


def find_initdb() -> Path | None:
    """PostgreSQL's `initdb`, beside which its other programs are."""
    newest_first = sorted(Path("/").glob(POSTGRES_FOLDERS[1:]), key=lambda folder: folder.parent.name, reverse=True)
    return _which("initdb", path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, newest_first)]))


def find_redis() -> Path | None:
    return _which("redis-server")


def find_chromium() -> Path | None:
    return _which("chromium") or _which("chromium-browser") or _which("google-chrome")


def find_npm() -> Path | None:
    """npm, which installs aimock at its first use."""
    return _which("npm")


def _which(program: str, path: str | None = None) -> Path | None:
    found = shutil.which(program, path=path)
    return Path(found) if found else None
