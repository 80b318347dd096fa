"""What an agent can do: typed Python functions, and the environment they act in."""

from .ask_user import ask_user
from .files import create_file, list_files, read_file
from .function import tool
from .registry import Toolbox
from .repair import repair_json
from .run_cell import run_cell
from .schema import validate
from .search import search_files
from .sensitive import is_sensitive

__all__ = ["Toolbox", "first_toolbox", "is_sensitive", "repair_json", "tool", "validate"]


def first_toolbox() -> Toolbox:
    """Returns the tools that every server has."""
    return Toolbox([list_files, read_file, search_files, create_file, run_cell, ask_user])
