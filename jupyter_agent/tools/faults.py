"""Says in a sentence what the operating system had against a file."""

import difflib
import errno
from collections.abc import Collection

from ..exceptions import OutsideWorkspace, ToolError
from .visible import quoted_name

_SENTENCES = {
    errno.EACCES: "The server is not permitted to use {path}.",
    errno.EPERM: "The server is not permitted to use {path}.",
    errno.EROFS: "{path} is on a file system that cannot be written: choose another folder.",
    errno.EISDIR: "{path} is a folder: list it with list_files, or name a file in it.",
    errno.ENOTDIR: "{path} leads through a file as if it were a folder: check the path with list_files.",
    errno.EEXIST: "{path} exists already and is not overwritten: choose another name.",
    errno.ENOSPC: "The disk is full: nothing was written of {path}. Free some space, or write less.",
    errno.EDQUOT: "The disk quota is used up: nothing was written of {path}. Free some space, or write less.",
    errno.ENAMETOOLONG: "A name in {path} is too long: 255 bytes are the most.",
    errno.ENXIO: "{path} is neither a file nor a folder: it cannot be read.",
}


def file_fault(error: OSError, path: str, *, missing: str = "", names: Collection[str] = ()) -> ToolError:
    """Returns the fault that tells a model what happened and what to do; `names` stand beside the `missing` one."""
    shown = quoted_name(path if len(path) <= 300 else path[:300] + "…")
    if error.errno == errno.ENOENT:
        close = difflib.get_close_matches(missing[:255], names, n=3, cutoff=0.5)
        advice = f"Close to it: {', '.join(map(quoted_name, close))}." if close else "List the folder with list_files."
        return ToolError(f"There is no {shown} in the workspace. {advice}")
    if error.errno == errno.ELOOP:
        return OutsideWorkspace(f"{shown} leads through links that go round in a circle, or that change meanwhile.")
    sentence = _SENTENCES.get(error.errno or 0)
    if sentence is None:
        return ToolError(f"{shown} cannot be used: {error.strerror or error}.")
    return ToolError(sentence.format(path=shown))
