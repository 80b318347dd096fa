"""Which workflows there are: files of three places, earlier ones before later ones, read and never executed.

The places are the built-in catalog, `<workspace>/.jupyter_agent/workflows/` and `<Jupyter's config>/agent/workflows/`.
A file is opened relative to its folder, never through a link; broken ones are listed with what is wrong.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from ..exceptions import AgentError, WorkflowInvalid, WorkflowNotApproved, WorkflowNotFound
from ..tools.paths import Walk
from .approvals import Approvals
from .script_file import MAX_NOTEBOOK_BYTES, SUFFIXES, Script, read_scripts

MAX_FILES: Final = 500
"""How many files of one place are read; more are counted and said."""
WORKSPACE_FOLDER: Final = ".jupyter_agent/workflows"
CONFIG_FOLDER: Final = "agent/workflows"
CATALOG: Final = Path(__file__).with_name("catalog")
"""The workflows that come with the package. They are data there too: read, and never imported."""
_NOT_LINKS: Final[int] = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | os.O_RDONLY

PlaceName = Literal["built-in", "workspace", "config"]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of workflows: `folder` beneath `top`. What is in the workspace came with it, so a person approves each
    text before it runs; the other two places are the operator's own."""

    name: PlaceName
    top: Path
    folder: str = "."

    @property
    def needs_approval(self) -> bool:
        return self.name == "workspace"


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow that can be read. `shadowed_by` names the place whose workflow of the same name is run instead."""

    script: Script
    place: PlaceName
    file: str
    approved: bool
    shadowed_by: PlaceName | None = None


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """A file that cannot be used, with the sentence that says why, and its line (and notebook cell) where known."""

    place: PlaceName
    file: str
    error: str
    line: int | None = None
    cell: int | None = None


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at all places found. `notes` are sentences about what was not looked at."""

    workflows: tuple[Found, ...]
    broken: tuple[Broken, ...]
    notes: tuple[str, ...] = ()

    def get(self, name: str) -> Found:
        """Returns the workflow that a name runs. Raises WorkflowNotFound, with what is broken where that may be why."""
        for found in self.workflows:
            if found.script.name == name and found.shadowed_by is None:
                return found
        known = ", ".join(sorted({found.script.name for found in self.workflows})) or "none"
        broken = "".join(f" {one.file} cannot be used: {one.error}" for one in self.broken[:3])
        raise WorkflowNotFound(f"There is no workflow {name[:80]!r}. There are: {known[:400]}.{broken[:800]}")

    def approves(self, digest: str) -> bool:
        """Tells whether this text is that of a workflow that may run."""
        return any(found.approved and found.script.digest == digest for found in self.workflows)

    def get_to_run(self, name: str) -> Script:
        """Returns the script that a name runs. Raises WorkflowNotFound, or WorkflowNotApproved with its digest."""
        found = self.get(name)
        if not found.approved:
            raise WorkflowNotApproved(
                f"The workflow {name!r} came with the workspace ({found.file}): read it and approve it first, in "
                f"a terminal with jupyter agent workflow approve {name}. It is asked again whenever its text changes.",
                details={"name": name, "file": found.file, "digest": found.script.digest},
            )
        return found.script


def places(workspace: Path, config_dir: Path, catalog: Path | None = None) -> list[Place]:
    """Returns the places in the order in which they are looked at. `catalog` is the built-in one's folder."""
    built_in = [Place(name="built-in", top=catalog)] if catalog is not None else []
    return [
        *built_in,
        Place(name="workspace", top=workspace, folder=WORKSPACE_FOLDER),
        Place(name="config", top=config_dir, folder=CONFIG_FOLDER),
    ]


def list_workflows(where: Sequence[Place], approvals: Approvals) -> Listing:
    """Returns all workflows of all places, in order, and what is wrong with the rest. Blocking: belongs in a thread."""
    workflows: list[Found] = []
    broken: list[Broken] = []
    notes: list[str] = []
    first: dict[str, PlaceName] = {}
    seen: set[tuple[PlaceName, str]] = set()
    for place in where:
        for file, read in _files(place, notes):
            if isinstance(read, AgentError):
                broken.append(_broken(place, file, read))
                continue
            for script in read:
                if (place.name, script.name) in seen:
                    twice = WorkflowInvalid(f"Another file of this place has a workflow {script.name!r}: rename one.")
                    broken.append(_broken(place, file, twice))
                    continue
                seen.add((place.name, script.name))
                runs = first.setdefault(script.name, place.name)
                workflows.append(
                    Found(
                        script=script,
                        place=place.name,
                        file=file,
                        approved=not place.needs_approval or approvals.holds(script.digest),
                        shadowed_by=None if runs == place.name else runs,
                    )
                )
    return Listing(workflows=tuple(workflows), broken=tuple(broken), notes=tuple(notes))


def _broken(place: Place, file: str, fault: AgentError) -> Broken:
    line, cell = fault.details.get("line"), fault.details.get("cell")
    return Broken(place=place.name, file=file, error=fault.message, line=line, cell=cell)


def _files(place: Place, notes: list[str]) -> Iterator[tuple[str, list[Script] | AgentError]]:
    """Gives each file's name with what was read of it, or with what is wrong."""
    if not (place.top / place.folder).is_dir():
        return
    try:
        with Walk(place.top, place.folder) as walk:
            folder = walk.open()
            names = _names(folder)
            if len(names) > MAX_FILES:
                notes.append(
                    f"The {place.name} place has {len(names):,} files: only the first {MAX_FILES}, by name, were read."
                )
            for name in names[:MAX_FILES]:
                yield name, _read(folder, name)
    except (AgentError, OSError) as fault:
        notes.append(f"The {place.name} place cannot be read: {fault}")


def _names(folder: int) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(
            entry.name for entry in entries if entry.name.endswith(SUFFIXES) and not entry.name.startswith((".", "_"))
        )


def _read(folder: int, name: str) -> list[Script] | AgentError:
    try:
        return read_scripts(_bytes(folder, name), name)
    except AgentError as fault:
        return fault
    except OSError as fault:
        return WorkflowInvalid(f"It cannot be opened: {fault.strerror}.")


def _bytes(folder: int, name: str) -> bytes:
    """Returns a plain file's content, as far as any reader needs it to refuse it for its size."""
    facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISLNK(facts.st_mode):
        raise WorkflowInvalid("It is a link: links are not followed, put the file itself here.")
    if not stat.S_ISREG(facts.st_mode):
        raise WorkflowInvalid("It is no file.")
    fd = os.open(name, _NOT_LINKS, dir_fd=folder)
    with os.fdopen(fd, "rb") as file:
        # Between the look and the opening it may have been swapped: what is open counts.
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise WorkflowInvalid("It is no file.")
        return file.read(MAX_NOTEBOOK_BYTES + 1)
