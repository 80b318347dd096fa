"""Worlds without a server, as for the runtime."""

from tests.runtime.conftest import open_world

__all__ = ["open_world"]
