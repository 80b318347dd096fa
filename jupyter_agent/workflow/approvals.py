"""Which texts of workflows a person has approved: one small file each, named by the text's SHA-256, in the data folder.

They lie outside of the workspace, where no tool of an agent writes. Approving is by content: a changed text is another.
"""

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from ..exceptions import InvalidRequest

FOLDER: Final = "workflow-approvals"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class Approval(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who approved what, and when."""

    digest: str
    name: str
    actor: str
    approved_at: datetime


class Approvals:
    """The approvals of a data folder. Blocking, and quick: a look is one `stat`."""

    def __init__(self, data_folder: Path) -> None:
        self._folder = data_folder / FOLDER

    def holds(self, digest: str) -> bool:
        """Tells whether this very text was approved."""
        return (self._folder / _checked(digest)).is_file()

    def approve(self, digest: str, *, name: str, actor: str) -> Approval:
        """Writes down that a person approved a text; the first one to do so is kept."""
        path = self._folder / _checked(digest)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        approval = Approval(digest=digest, name=name, actor=actor, approved_at=datetime.now(UTC))
        draft = path.with_name(f".{digest}.{os.getpid()}")
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.json.encode(approval))
            file.flush()
            os.fsync(fd)
        try:
            # A link fails where somebody was quicker, and never shows half a file.
            os.link(draft, path)
        except FileExistsError:
            return msgspec.json.decode(path.read_bytes(), type=Approval)
        finally:
            draft.unlink()
        return approval

    def revoke(self, digest: str) -> bool:
        """Takes an approval back; False where there was none. Runs that go on are not stopped by it."""
        try:
            (self._folder / _checked(digest)).unlink()
        except FileNotFoundError:
            return False
        return True


def _checked(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise InvalidRequest(f"{digest[:80]!r} is no SHA-256 in lower-case hexadecimal.")
    return digest
