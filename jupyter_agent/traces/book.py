"""What an import has found so far: facts, and counts of what is none."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from ..records import clean
from .draft import RunDraft
from .facts import ImportedCall, ImportedMessage, ImportedRun, ImportedTurn, Unmapped

MOST_KINDS = 1_000
"""Kinds of unmapped things that are told apart: names come from files, and files may hold anything."""
KIND_CHARS = 120


@dataclass(slots=True)
class Book:
    """The facts of one import. `seed` is what its ids are made of: a digest of the file."""

    format: str
    seed: str
    runs: list[ImportedRun] = field(default_factory=list)
    turns: list[ImportedTurn] = field(default_factory=list)
    messages: list[ImportedMessage] = field(default_factory=list)
    tool_calls: list[ImportedCall] = field(default_factory=list)
    _missed: dict[str, tuple[int, str]] = field(default_factory=dict)
    _begun: int = 0
    _cut: dict[str, str] = field(default_factory=dict)
    """What was cut. Logs tell the same long text in many places."""

    def run(
        self, foreign_id: str | None, place: str, *, thread: str | None = None, parent: RunDraft | None = None
    ) -> RunDraft:
        """Begins a run. `thread` is what the log calls the conversation that it is part of."""
        self._begun += 1
        run_id = f"run_{self._hash('run', str(self._begun), foreign_id or '')}"
        # Runs of one conversation share a thread, in this file and in others.
        of_thread = hashlib.sha256(f"{self.format}\0{thread}".encode(errors="replace")).hexdigest()[:20]
        own_thread = f"thr_{of_thread}" if thread else parent.thread_id if parent else f"thr_{run_id[4:]}"
        return RunDraft(
            book=self, run_id=run_id, thread_id=own_thread, foreign_id=foreign_id, place=place,
            foreign_thread_id=thread, parent_run_id=parent.run_id if parent else None,
        )  # fmt: skip

    def miss(self, kind: str, place: str) -> None:
        """Counts something that is no fact of ours."""
        kind, place = clean(kind[:KIND_CHARS]), clean(place)
        if kind not in self._missed and len(self._missed) >= MOST_KINDS:
            kind = "of other kinds"
        before, first_place = self._missed.get(kind, (0, place))
        self._missed[kind] = (before + 1, first_place)

    def cut(self, text: str, chars: int) -> str:
        """Returns the beginning of a text, of which one copy is kept however often it is cut."""
        if len(text) <= chars:
            return text
        begun = text[:chars]
        return self._cut.setdefault(begun, begun)

    def missing(self, place: str) -> Callable[[str], None]:
        """Returns what counts for somebody who knows no places."""
        return lambda kind: self.miss(kind, place)

    def unmapped(self) -> list[Unmapped]:
        return [Unmapped(kind=kind, count=count, first_place=place) for kind, (count, place) in self._missed.items()]

    def _hash(self, *words: str) -> str:
        return hashlib.sha256("\0".join((self.format, self.seed, *words)).encode(errors="replace")).hexdigest()[:20]
