"""The options of `%agent` and `%%agent`, and what follows them."""

import re

from msgspec import Struct

from ..exceptions import InvalidRequest

WITH_VALUE = {"-m": "model", "--model": "model", "-t": "thread", "--thread": "thread", "--tools": "tools"}
FLAGS = {"--new": "new", "--no-wait": "no_wait"}
WORDS = ("models", "runs", "stop", "attach", "help")

HELP = """\
%%agent [-m MODEL] [-t THREAD | --new] [--tools A,B] [--no-wait] [NAME]
    The cell below is the prompt. {expression} inserts a value of yours; {{ and }} are braces.
    The cell waits for the answer; ■ interrupts the run. The run is in _ and, if given, in NAME.

%agent PROMPT                       the same on one line
%agent models                       the models that the server offers
%agent runs                         the runs of this notebook's thread
%agent stop [RUN]                   interrupt this notebook's runs, or the one named
%agent attach RUN                   show a run that was started before, and wait for it
%agent help                         this

-m, --model MODEL     for example demo, scripted, or provider:model
-t, --thread THREAD   continue the thread with this title or id; made where there is none
--new                 start a new thread for this notebook
--tools A,B           let the run use only these tools
--no-wait             return at once; the run goes on beside your cells

The cells of a kernel continue one thread, the notebook's own, so that the agent knows what was said before.
"""
_OPTION = re.compile(r"\s*(?P<name>--?[A-Za-z][A-Za-z-]*)(?:(?:\s+|=)(?P<value>\"[^\"]*\"|'[^']*'|[^\s-]\S*))?(?=\s|$)")


class Options(Struct, kw_only=True):
    """What stands before the prompt or the name. `rest` is what follows."""

    model: str | None = None
    thread: str | None = None
    tools: str | None = None
    new: bool = False
    no_wait: bool = False
    rest: str = ""


def parse(line: str) -> Options:
    """Returns the options of a line. Raises InvalidRequest for one that does not exist or lacks its value."""
    options = Options()
    place = 0
    while (found := _OPTION.match(line, place)) is not None:
        name, value = found["name"], found["value"]
        if name in FLAGS:
            setattr(options, FLAGS[name], True)
            place = found.end("name")
        elif name not in WITH_VALUE:
            raise InvalidRequest(f"There is no option {name!r}. `%agent help` lists what there is.")
        elif value is None:
            raise InvalidRequest(f"The option {name} needs a value, for example `{name} demo`.")
        else:
            setattr(options, WITH_VALUE[name], value.strip("\"'"))
            place = found.end()
    if options.thread is not None and options.new:
        raise InvalidRequest("Give either a thread or --new, not both.")
    options.rest = line[place:].strip()
    return options
