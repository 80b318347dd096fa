"""`%%agent` and `%agent`: a cell's or a line's text is the prompt of a run.

The cells of one kernel continue one thread, the notebook's own, unless `-t` names another or `--new` starts afresh.
"""

import sys
from datetime import UTC, datetime
from typing import Any

from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand

from ..client import front
from ..client.run import Run
from ..client.thread import Thread
from ..display import words
from ..exceptions import InvalidRequest, ThreadNotFound
from . import options as opt
from .prompt import Prompt, fill

PREVIEW_CHARS = 4_000


@magics_class
class AgentMagics(Magics):
    """The magics of one shell, and what they remember: the notebook's thread and its runs."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self._shell = shell
        self._thread: Thread | None = None
        self._runs: list[Run] = []

    @no_var_expand
    @line_cell_magic
    def agent(self, line: str, cell: str | None = None) -> Run | None:
        """Runs an agent with the cell or line as its prompt. `%agent help` says how."""
        if cell is not None:
            options = opt.parse(line)
            if options.rest and not options.rest.isidentifier():
                raise InvalidRequest(
                    f"{options.rest!r} is no name for the run's variable. The prompt stands below the %%agent line; "
                    "`%agent help` says more."
                )
            return self._run(cell, options, name=options.rest)
        word, _, rest = line.strip().partition(" ")
        match word, rest.split():
            case (("" | "help"), []):
                _say(opt.HELP)
            case "models", []:
                self._say_models()
            case "runs", []:
                self._say_runs()
            case "stop", named if all(run_id.startswith("run_") for run_id in named):
                self._stop(named)
            case "attach", [run_id] if run_id.startswith("run_"):
                return self._attach(run_id)
            case _:
                options = opt.parse(line)
                return self._run(options.rest, options)
        return None

    # --- runs -------------------------------------------------------------------------------------------------

    def _run(self, template: str, options: opt.Options, *, name: str = "") -> Run:
        """Starts a run and waits for it, unless told otherwise."""
        if not template.strip():
            raise InvalidRequest("The prompt is empty: write below %%agent, or after %agent, what is to be done.")
        prompt = fill(template.strip("\n"), self._shell.ev)
        _preview(prompt)
        run = self._start(prompt.text, options)
        self._runs = [*(known for known in self._runs if not known.is_done), run]
        if name:
            self._shell.user_ns[name] = run
        if not options.no_wait:
            run.result()
        return run

    def _start(self, prompt: str, options: opt.Options) -> Run:
        named: Thread | str | None = options.thread or (None if options.new else self._thread)
        try:
            run = self._start_on(named, prompt, options)
        except ThreadNotFound:
            if named is not self._thread:
                raise
            run = self._start_on(None, prompt, options)  # the notebook's thread was deleted: begin another
        if options.thread is None:
            self._thread = run.thread
        return run

    @staticmethod
    def _start_on(thread: Thread | str | None, prompt: str, options: opt.Options) -> Run:
        return front.run(prompt, model=options.model, thread=thread, tools=options.tools, waits=not options.no_wait)

    def _stop(self, named: list[str]) -> None:
        runs = [front.open(run_id) for run_id in named] or [run for run in self._runs if not run.is_done]
        for run in runs:
            run.interrupt()
            _say(f"Interrupted {run.id}.\n")
        if not runs:
            _say("No run of this notebook is going on. `%agent stop RUN` interrupts another.\n")

    def _attach(self, run_id: str) -> Run:
        run = front.open(run_id, show=True)
        self._runs.append(run)
        run.result()
        return run

    # --- lists ------------------------------------------------------------------------------------------------

    def _say_models(self) -> None:
        for model in front.models():
            state = "" if model.ready else f" (not ready: {model.advice or 'no key'})"
            _say(f"{model.name:32} {words.one_line(model.description, 80)}{state}\n")

    def _say_runs(self) -> None:
        if self._thread is None:
            _say("This notebook has had no run since its kernel started. `ja.runs()` lists all of yours.\n")
            return
        for run in self._thread.runs:
            age = words.duration((datetime.now(UTC) - run.created_at).total_seconds())
            asked = words.one_line(run.first_human_message or "", 60)
            _say(f"{run.run_id}  {words.WORDS[run.status]:20} {run.model:12} {age:>12} ago  {asked}\n")


def _preview(prompt: Prompt) -> None:
    """Shows what the prompt's expressions became, since it leaves the notebook."""
    for value in prompt.inserted:
        if "\n" in value.text or len(value.text) > 80:
            shown = value.text if len(value.text) <= PREVIEW_CHARS else f"{value.text[:PREVIEW_CHARS]}\n…"
            _say(f"sent for {{{value.expression}}} ({len(value.text):,} characters):\n{shown}\n\n")


def _say(text: str) -> None:
    sys.stdout.write(text)
