"""A person at a terminal: what waits is shown with what exactly will happen, and decided there."""

import sys
from collections.abc import Callable
from queue import Empty, Queue
from typing import Protocol

from ..client.client import Client
from ..client.run import Run
from ..client.transport import Link
from ..display import words
from ..exceptions import AgentError, AlreadyResolved, ApprovalNotFound, InputNotFound, InvalidRequest, NotFound
from ..protocol import control
from ..records import Approval, InputNeeded, RunStatus
from . import form

WAITING = (RunStatus.WAITING_CONFIRMATION, RunStatus.WAITING_INPUT)
REPLAY_S = 30.0


class Person(Protocol):
    """Who decides. None leaves the question open."""

    def decide(self, run: Run, approval: Approval) -> bool | str | None:
        """Returns True to approve, False or a reason to reject."""

    def answer(self, run: Run, asked: InputNeeded) -> str | None:
        """Returns the answer to a question of the agent."""


class Terminal:
    """Asks whoever sits at the terminal."""

    def decide(self, run: Run, approval: Approval) -> bool | str | None:
        """Shows the call and asks until the answer is one of the three."""
        show_approval(run, approval)
        while True:
            said = _ask("approve? [y]es, [n]o, [l]ater: ").strip().lower()
            if said in {"y", "yes"}:
                return True
            if said in {"n", "no"}:
                return _ask("why not (the agent reads it; may be empty): ").strip() or False
            if said in {"", "l", "later"}:
                return None

    def answer(self, run: Run, asked: InputNeeded) -> str | None:
        """Shows the question and takes one line, or one for each field of its form."""
        show_input(run, asked)
        if asked.schema and asked.schema.get("properties"):
            return form.filled(asked.schema, _ask)
        return _ask("answer (empty: later): ").strip() or None


def _ask(question: str) -> str:
    sys.stderr.write(question)
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        raise KeyboardInterrupt  # the terminal was closed
    return line


def show_approval(run: Run, approval: Approval) -> None:
    """Shows a call that waits, from the server's own picture of it."""
    _say(f"\n? {words.wants(approval)} in run {run.id} ({approval.approval_id}):")
    _say("\n".join(f"    {line}" for line in words.plain(words.preview_text(approval)).splitlines()))


def show_input(run: Run, asked: InputNeeded) -> None:
    """Shows a question that waits."""
    _say(f"\n? the agent asks in run {run.id} ({asked.request_id}):\n    {words.plain(asked.prompt)}")
    for line in form.described(asked.schema or {}):
        _say(f"    - {words.plain(line)}")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def attend(run: Run, person: Person, seen: set[str]) -> None:
    """Puts to the person what waits in this run and was not put before. Somebody else may be quicker."""
    for approval in run.approvals:
        if approval.approval_id in seen:
            continue
        seen.add(approval.approval_id)
        decision = person.decide(run, approval)
        try:
            if decision is True:
                run.approve(approval.approval_id)
            elif decision is not None:
                run.reject(approval.approval_id, decision or None)
        except (AlreadyResolved, ApprovalNotFound):
            _say(f"{approval.approval_id} was decided elsewhere meanwhile.")
    refused: list[str] = []
    for asked in run.inputs:
        if asked.request_id in seen:
            continue
        seen.add(asked.request_id)
        content = person.answer(run, asked)
        try:
            if content is not None:
                run.answer(asked.request_id, content)
        except (AlreadyResolved, InputNotFound):
            _say(f"{asked.request_id} was answered elsewhere meanwhile.")
        except InvalidRequest as fault:
            _say(fault.message)
            refused.append(asked.request_id)
    if refused:
        # Put once more, at once: what was wrong is still to be seen.
        seen.difference_update(refused)
        attend(run, person, seen)


class Desk:
    """Everything of one's own that waits for a person, whichever client started it."""

    def __init__(self, client: Client, person: Person, *, opened: Callable[[Run], None] | None = None) -> None:
        """`opened` is called with every run as it is taken up: with it all new runs are, whether they wait or not."""
        self.runs: dict[str, Run] = {}
        self._client = client
        self._person = person
        self._opened = opened
        self._news: Queue[str] = Queue()
        self._put: set[str] = set()

    def open(self) -> None:
        """Starts listening, and takes up what waits already."""
        self._client.threads_loop.call_soon_threadsafe(self._client.transport.follow, "*", self)
        for status in WAITING:
            for run in self._client.wait(self._client.list_runs(limit=1_000, status=status)):
                self._news.put(run.run_id)

    def attend(self, timeout_s: float) -> bool:
        """Puts what comes next to the person; returns whether anything came within the time."""
        try:
            run_id = self._news.get(timeout=timeout_s)
        except Empty:
            return False
        try:
            attend(self._run(run_id), self._person, self._put)
        except NotFound:
            self.runs.pop(run_id, None)  # deleted meanwhile
        return True

    def _run(self, run_id: str) -> Run:
        if run_id not in self.runs:
            record = self._client.wait(self._client.record(run_id))
            feed = self._client.feed(run_id, {})
            run = self.runs[run_id] = Run(self._client, record, feed)
            if self._opened is not None:
                self._opened(run)
            feed.wait_until(lambda _: feed.is_replayed, REPLAY_S)
            feed.watch(lambda: self._news.put(run_id) if run.approvals or run.inputs else None)
        return self.runs[run_id]

    # --- what the transport tells of "*" ----------------------------------------------------------------------

    last_event_id = None
    tools: tuple[str, ...] = ()

    def take_control(self, frame: control.AnyControl) -> None:
        """Hears which run waits, or is new."""
        if isinstance(frame, control.RunChanged):
            is_new = self._opened is not None and frame.change == "created"
            if frame.status in WAITING or is_new:
                self._news.put(frame.run_id)

    def take_event(self, event: object) -> None:
        """Events come to those who follow a run."""

    def take_fault(self, fault: AgentError) -> None:
        if self._client.transport.link is not Link.CLOSED:
            _say(fault.message)

    def take_link(self, link: Link) -> None:
        """The connection mends itself."""
