"""The demo model: honest, pure, and worth reading. Its tools really act in a folder."""

import itertools
import json
import re
import struct
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jupyter_agent.models.demo import DemoModel
from jupyter_agent.models.demo.people import image_size
from jupyter_agent.models.demo.reading import count_missing
from jupyter_agent.models.form import form_of, schema_in
from jupyter_agent.models.prompt_cache import BLOCK_TOKENS, LIFE_S, PromptCache, prompt_bytes
from jupyter_agent.records import Effect, Image, Message, Text, ToolCall, ToolResult
from tests.models.collected import answer_of, check, collect, finished, request, results, user
from tests.models.folder import TOOLS, Exchange, Folder, spec

MAIN_JOB = "Which of the CSV files here has the most missing values? Plot them."

TABLES = {
    "data/penguins.csv": "species,island,bill,mass\nAdelie,Dream,39.1,3750\nAdelie,,NA,3800\nGentoo,,,\n",
    "data/weather.csv": "day,rain,wind\n1,0.2,3\n2,,4\n3,1.0,2\n",
    "sales.csv": "month,price,units\n1,10.0,5\n2,11.5,7\n3,12,9\n",
    "notes.md": "# Notes\nThe budget (2024) is 100.\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    for name, text in TABLES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return Folder(tmp_path)


def exchange(folder: Folder, **changes) -> Exchange:
    return Exchange(DemoModel(pace=0), folder, **changes)


def without(*names: str):
    return tuple(tool for tool in TOOLS if tool.name not in names)


# --- the main job -----------------------------------------------------------------------------------------------


async def test_the_main_job_looks_runs_a_cell_and_answers_from_its_output(folder):
    talk = exchange(folder)
    answer = await talk.ask(MAIN_JOB)
    assert talk.called == ["list_files", "read_file", "read_file", "read_file", "run_cell"]
    assert "`data/penguins.csv` has the most missing values: 5 of 12 (41.7%)" in answer
    assert "| `data/weather.csv` | 1 | 9 | 11.1% |" in answer
    assert "| `sales.csv` | 0 | 9 | 0.0% |" in answer
    assert "`island` (2)" in answer
    assert "The plot shows all files" in answer
    assert "rules, not a language model" in answer
    code = next(call for message in talk.messages for call in message.tool_calls if call.name == "run_cell").arguments
    assert len(json.loads(code)["code"].splitlines()) < 40


async def test_the_cell_finds_the_files_from_a_notebook_in_a_folder_below(folder):
    talk = exchange(Folder(folder.root))
    answer = await talk.ask(MAIN_JOB)
    code = next(
        json.loads(call.arguments)["code"]
        for message in talk.messages
        for call in message.tool_calls
        if call.name == "run_cell"
    )
    (folder.root / "notebooks" / "deep").mkdir(parents=True)
    output, is_error, _ = Folder(folder.root / "notebooks" / "deep").run_cell(code)
    assert not is_error, output
    assert "data/penguins.csv: 5 of 12 values missing" in output
    assert "5 of 12" in answer


async def test_the_numbers_are_the_cells_own_whatever_it_prints(folder):
    """A person may edit the cell before approving it: the answer follows its output, not the files."""
    talk = exchange(folder)
    folder.run_cell = lambda **_: ("a.csv: 7 of 70 values missing\nb.csv: 9 of 9000 values missing\n", False, ())
    answer = await talk.ask(MAIN_JOB)
    assert "`b.csv` has the most missing values: 9 of 9000" in answer
    assert "By share it would be `a.csv`, with 10.0%" in answer
    assert "penguins" not in answer


async def test_a_cell_that_prints_something_else_gives_no_numbers(folder):
    talk = exchange(folder)
    folder.run_cell = lambda **_: ("hello\n", False, ())
    answer = await talk.ask(MAIN_JOB)
    assert "hello" in answer
    assert "has the most" not in answer
    assert not re.search(r"\d+ of \d+", answer)


async def test_a_rejected_cell_is_said_and_another_way_offered_and_taken(folder):
    talk = exchange(Folder(folder.root, refuses=frozenset({"run_cell"})))
    answer = await talk.ask(MAIN_JOB)
    assert "not approved" in answer
    assert "The person rejected this call" in answer
    assert "without running code" in answer
    assert talk.called.count("run_cell") == 1
    again = exchange(talk.folder)
    answer = await again.ask(f"{MAIN_JOB} But without running code.")
    assert "run_cell" not in again.called
    assert "5 of 12" in answer
    assert "█" in answer
    assert "the text of the files" in answer


async def test_without_run_cell_the_files_are_read_and_counted(folder):
    talk = exchange(folder, tools=without("run_cell"))
    answer = await talk.ask(MAIN_JOB)
    assert set(talk.called) == {"list_files", "read_file"}
    assert "5 of 12" in answer
    assert "█" in answer


async def test_a_file_that_is_cut_is_said_to_be(folder):
    (folder.root / "sales.csv").write_text("a,b\n" + "1,\n" * 20_000)
    answer = await exchange(folder, tools=without("run_cell")).ask(MAIN_JOB)
    assert "Only the beginning of `sales.csv` was read" in answer


@pytest.mark.parametrize(
    ("blocked", "way"), [("matplotlib", "bars above"), ("pandas matplotlib", "without the kernel")]
)
async def test_missing_libraries_are_said_and_worked_around(folder, blocked, way):
    talk = exchange(Folder(folder.root, blocked=blocked))
    answer = await talk.ask(MAIN_JOB)
    assert "5 of 12" in answer
    assert way in talk.transcript()
    assert "█" in answer


async def test_no_csv_file_is_no_answer_made_up(tmp_path):
    answer = await exchange(Folder(tmp_path)).ask(MAIN_JOB)
    assert "no CSV file" in answer


async def test_unreadable_complete_and_tied_files_are_told_apart(folder):
    (folder.root / "empty.csv").write_text("")
    answer = await exchange(folder).ask(MAIN_JOB)
    assert "`empty.csv` could not be read" in answer
    for name in ("data/penguins.csv", "data/weather.csv", "empty.csv"):
        (folder.root / name).write_text("a,b\n1,2\n")
    assert "None of them misses a value" in await exchange(folder).ask(MAIN_JOB)
    for name in ("data/penguins.csv", "sales.csv"):
        (folder.root / name).write_text("a,b\n1,\n")
    assert "It is a tie: `data/penguins.csv` and `sales.csv`" in await exchange(folder).ask(MAIN_JOB)


async def test_it_resumes_where_it_was(folder):
    """The answer is a pure function of the request: a fresh model goes on as the old one would have."""
    talk = exchange(folder)
    await talk.ask(MAIN_JOB)
    answers = [index for index, message in enumerate(talk.messages) if message.role == "assistant"]
    for turn, index in enumerate(answers):
        fresh = await collect(
            DemoModel(pace=0), request(*talk.messages[:index], tools=TOOLS, turn=turn, settings={"pace": 0})
        )
        assert answer_of(fresh, "demo", turn) == talk.messages[index]


async def test_it_goes_on_with_its_task_after_an_answer_that_was_cut(folder):
    cut = Message(role="assistant", parts=(Text(text="Let me see wh"),))
    note = user("Your last message was cut off by a lost connection. Continue where it stopped.")
    said = answer_of(await collect(DemoModel(pace=0), request(MAIN_JOB, cut, note, tools=TOOLS)))
    assert [call.name for call in said.tool_calls] == ["list_files"]


async def test_a_second_task_of_the_thread_starts_anew(folder):
    talk = exchange(folder)
    await talk.ask(MAIN_JOB)
    answer = await talk.ask("How many files are here?")
    assert "4 files" in answer


async def test_a_file_may_be_named_without_its_folder_once_the_thread_knows_it(folder):
    talk = exchange(folder)
    await talk.ask(MAIN_JOB)
    assert "data/penguins.csv: 4 lines" in await talk.ask("How many lines has `penguins.csv`?")
    assert "data/weather.csv` begins" in await talk.ask("Read weather.csv")


# --- the other intents ------------------------------------------------------------------------------------------

TASKS = [
    ("List the files here", ["list_files"], "There are 4 files here"),
    ("Show me the CSV files here", ["list_files"], "There are 3 files here"),
    ("Read notes.md", ["read_file"], "The budget (2024) is 100."),
    ('Search for "budget (2024)"', ["search_files"], "notes.md:2: The budget (2024)"),
    ("Which file mentions Gentoo?", ["search_files"], "data/penguins.csv:4: Gentoo"),
    ("How many CSV files are here?", ["list_files"], "3 .csv files"),
    ("How many rows does sales.csv have?", ["run_cell"], "sales.csv: 4 lines"),
    ("Plot the column price of sales.csv", ["read_file", "run_cell"], "sales.csv: 3 rows, drawn: price"),
    ("Draw a histogram of rain in data/weather.csv", ["read_file", "run_cell"], "drawn: rain"),
    ("Summarise sales.csv", ["run_cell"], "sales.csv: 3 rows, 3 columns"),
    ("Describe the frame `df`", ["run_cell"], "name 'df' is not defined"),
    ("Summarise the frame df. The pandas DataFrame `df`:\n  a: int64, 3 missing", ["run_cell"], "'df' is not defined"),
    ("Summarise notes.md", ["read_file"], "cannot sum up prose"),
    ("Write a file hello.txt with Good morning, all", ["create_file"], "Created hello.txt"),
    ("Ask me for my favourite colour", ["ask_user"], "You answered: **blue**"),
    ("Ask me for a colour and write it to colour.txt", ["ask_user", "create_file"], "It is in `colour.txt` now"),
    ("Run `print(6 * 7)`", ["run_cell"], "42"),
    ("Run this:\n```python\nx = 20\nprint(x + 3)\n```", ["run_cell"], "23"),
    ("What is (2 + 3) * 4?", ["run_cell"], "20"),
    ("Hello!", [], "rules, not a language model"),
    ("help", [], "missing values"),
    ("Why is the sky blue?", [], "I have no rule for that"),
    ("Read nothing-here.txt", ["read_file"], "That did not work"),
]


@pytest.mark.parametrize(("task", "called", "says"), TASKS)
async def test_each_intent_uses_the_real_tools(folder, task, called, says):
    talk = exchange(folder)
    answer = await talk.ask(task)
    assert talk.called == called
    assert says in answer


async def test_what_was_written_is_what_was_asked(folder):
    await exchange(folder).ask("Create a file `a.py` containing:\n```python\nprint('hi')\n```")
    assert (folder.root / "a.py").read_text() == "print('hi')\n"


async def test_a_command_goes_to_run_command_where_there_is_one():
    tools = (*TOOLS, spec("run_command", Effect.EXEC, argv="array"))
    said = answer_of(await collect(DemoModel(pace=0), request('Run the command `ls -l "a b"`', tools=tools)))
    assert [(call.name, json.loads(call.arguments)) for call in said.tool_calls] == [
        ("run_command", {"argv": ["ls", "-l", "a b"]})
    ]
    said = answer_of(await collect(DemoModel(pace=0), request("Run the command ls -l", tools=TOOLS)))
    assert json.loads(said.tool_calls[0].arguments) == {"code": "!ls -l"}


@pytest.mark.parametrize(
    ("task", "arguments"),
    [
        ("Call double with x=21 and unit='kg m'", {"x": 21, "unit": "kg m"}),
        ('Use the tool `double` on 3.5 with "metres"', {"x": 3.5, "unit": "metres"}),
        ("double x: -4, unit: s.", {"x": -4, "unit": "s"}),
    ],
)
async def test_a_tool_of_ones_own_is_called_by_its_name(task, arguments):
    tools = (*TOOLS, spec("double", x="number", unit="string"))
    said = answer_of(await collect(DemoModel(pace=0), request(task, tools=tools)))
    assert [(call.name, json.loads(call.arguments)) for call in said.tool_calls] == [("double", arguments)]
    later = await collect(DemoModel(pace=0), request(task, said, results(said, "42 kg"), tools=tools, turn=1))
    assert "42 kg" in answer_of(later).text


async def test_a_tool_that_lacks_arguments_asks_for_them():
    tools = (spec("double", x="number"),)
    said = answer_of(await collect(DemoModel(pace=0), request("Use double", tools=tools)))
    assert "I need `x`" in said.text


async def test_a_picture_is_measured_and_not_imagined():
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 640, 480)
    asked = request(user("What is this?", Image(blob="b", mime="image/png")), images={"b": png})
    said = answer_of(await collect(DemoModel(pace=0), asked)).text
    assert "640 by 480 pixels" in said
    assert "cannot tell what they show" in said


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b"GIF89a" + struct.pack("<HH", 3, 4), (3, 4)),
        (b"\xff\xd8\xff\xe0\x00\x04\x00\x00\xff\xc0\x00\x11\x08" + struct.pack(">HH", 4, 3) + b"\x03" * 9, (3, 4)),
        (b"RIFF\0\0\0\0WEBPVP8X" + b"\0" * 8 + b"\x02\0\0\x03\0\0", (3, 4)),
        (b"\xff\xd8\xff", None),
        (b"text", None),
        (b"", None),
    ],
)
def test_sizes_of_pictures(data, size):
    assert image_size(data) == size


@given(st.binary(max_size=64))
def test_no_bytes_crash_the_measuring(data):
    for head in (b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8", b"RIFF\0\0\0\0WEBPVP8X"):
        image_size(head + data)


async def test_without_any_tool_it_says_what_it_would_need():
    said = answer_of(await collect(DemoModel(pace=0), request("List the files")))
    assert "I need `list_files`" in said.text
    assert not said.tool_calls


async def test_a_closing_turn_sums_up_what_was_done(folder):
    first = answer_of(await collect(DemoModel(pace=0), request(MAIN_JOB, tools=TOOLS)))
    closing = user("The limit of turns is reached. Sum up.")
    asked = request(MAIN_JOB, first, results(first, "a.csv  3 bytes"), closing, turn=1)
    said = answer_of(await collect(DemoModel(pace=0), asked))
    assert "`list_files`: a.csv" in said.text


async def test_a_thread_can_be_summed_up():
    asked = request("List the files", user("Summarise everything above for yourself, …"))
    said = answer_of(await collect(DemoModel(pace=0), asked))
    assert "Asked: List the files" in said.text


# --- properties -------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        "which",
        "csv",
        "files",
        "missing",
        "values",
        "plot",
        "read",
        "notes.md",
        "list",
        "search",
        "for",
        "write",
        "a",
        "file",
        "x.txt",
        "with",
        "ask",
        "me",
        "run",
        "`ls`",
        "command",
        "describe",
        "frame",
        "df",
        "count",
        "how",
        "many",
        "rows",
        "summarise",
        "picture",
        "help",
        "hello",
        "compute",
        "1+1",
        "double",
        "x=1",
        "```",
        "in",
        "the",
        "data.csv",
    ]
)
CONTENTS = st.one_of(
    st.text(max_size=80),
    st.sampled_from(
        ["a.csv  12 bytes\nb.csv  3 bytes", "a.csv: 3 of 9 values missing", "a,b\n1,\n", "No file matches *.csv.",
         "[lines 1 to 5 of 9; go on with start_line=6]", "The person rejected this call.", "\0", "",
         '"\\u202e.csv"  1 bytes']
    ),
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(WORDS, max_size=9).map(" ".join) | st.text(max_size=60), st.data())
async def test_whatever_comes_back_it_ends_and_keeps_to_its_tools(task, data):
    offered = (*TOOLS, spec("double", x="number"))
    tools = tuple(tool for tool in offered if data.draw(st.booleans(), label=tool.name))
    messages = [user(task)]
    for turn in range(9):
        assert turn < 8, "it must end within eight turns"
        asked = request(*messages, tools=tools, turn=turn, settings={"pace": 0})
        pieces = await collect(DemoModel(pace=0), asked)
        answer = answer_of(pieces, "demo", turn)
        assert answer == answer_of(await collect(DemoModel(pace=0), asked), "demo", turn), "the same answer again"
        assert {call.name for call in answer.tool_calls} <= {tool.name for tool in tools}
        assert all(isinstance(json.loads(call.arguments), dict) for call in answer.tool_calls)
        messages.append(answer)
        if not answer.tool_calls:
            assert answer.text
            break
        parts = tuple(
            ToolResult(
                tool_call_id=call.tool_call_id,
                name=call.name,
                content=data.draw(CONTENTS),
                is_error=data.draw(st.booleans()),
            )
            for call in answer.tool_calls
        )
        messages.append(Message(role="tool", parts=parts))


@pytest.mark.parametrize("text", ["a" * 100_000, "a." * 50_000, "`" * 50_000, "write create " * 5_000, "\n" * 50_000])
async def test_no_task_takes_long(text):
    began = time.monotonic()
    call = ToolCall(tool_call_id="c", name="list_files", arguments="{}")
    listing = ToolResult(tool_call_id="c", name="list_files", content=text)
    thread = (user(text), Message(role="assistant", parts=(call,)), Message(role="tool", parts=(listing,)))
    await collect(DemoModel(pace=0), request(*thread[:1], tools=TOOLS))
    await collect(DemoModel(pace=0), request(*thread, tools=TOOLS, turn=1))
    assert time.monotonic() - began < 10


@given(st.text(max_size=200))
@example("a,b\r1,2")
def test_counting_takes_any_text(text):
    count = count_missing("a.csv", text)
    assert 0 <= count.missing <= count.values


# --- pace and usage ---------------------------------------------------------------------------------------------


async def test_it_streams_at_a_persons_pace_unless_told_otherwise():
    began = time.monotonic()
    await collect(DemoModel(pace=0.2), request("help"))
    assert time.monotonic() - began > 0.3
    began = time.monotonic()
    await collect(DemoModel(), request("help", settings={"pace": 0}))
    assert time.monotonic() - began < 30


async def test_the_simulated_cache_reads_what_was_sent_before(folder):
    talk = exchange(folder)
    await talk.ask(MAIN_JOB)
    usages = [one.usage for one in talk.finished]
    assert usages[0].cache_read_tokens == 0
    for before, after in itertools.pairwise(usages):
        assert after.cache_read_tokens == before.cache_read_tokens + before.cache_write_tokens
        assert after.input_tokens > before.input_tokens
    assert all(usage.cache_read_tokens % BLOCK_TOKENS == 0 for usage in usages)
    assert all(usage.cost is None for usage in usages)


async def test_the_cache_forgets_after_five_minutes_and_knows_only_prefixes():
    now = 0.0
    cache = PromptCache(clock=lambda: now)
    asked = request("x" * 4_000)
    whole = len(prompt_bytes(asked)) // 4 // BLOCK_TOKENS * BLOCK_TOKENS
    assert cache.measure(asked).cache_write_tokens == whole
    now = LIFE_S - 1
    assert cache.measure(asked).cache_read_tokens == whole
    now += LIFE_S - 1
    assert cache.measure(asked).cache_read_tokens == whole, "reading renews"
    now += LIFE_S
    assert cache.measure(asked).cache_read_tokens == 0
    assert cache.measure(request("y" + "x" * 4_000)).cache_read_tokens == 0


@given(st.lists(st.sampled_from(["a", "b" * 600, "c" * 3_000]), min_size=1, max_size=6))
def test_a_longer_thread_starts_with_the_bytes_of_the_shorter(texts):
    longer = request(*texts, tools=TOOLS)
    for count in range(len(texts)):
        assert prompt_bytes(longer).startswith(prompt_bytes(request(*texts[:count], tools=TOOLS)))


async def test_pieces_are_checked_by_a_check_that_can_fail():
    pieces = await collect(DemoModel(pace=0), request("List the files", tools=TOOLS))
    for broken in (pieces[:-1], [*pieces, finished(pieces)], [piece for piece in pieces if "Ended" not in repr(piece)]):
        with pytest.raises(AssertionError):
            check(broken)


# --- answers in a form ------------------------------------------------------------------------------------------

TREE = {"type": "object", "properties": {f"c{number}": {"$ref": "#/$defs/tree"} for number in range(10)}}
FORM = {
    "type": "object",
    "properties": {
        "level": {"enum": ["low", "high"]}, "count": {"type": "integer", "minimum": 3}, "ok": {"type": "boolean"},
        "name": {"type": "string", "minLength": 3, "maxLength": 5},
        "maybe": {"anyOf": [{"type": "null"}, {"const": 7}]},
        "findings": {"type": "array", "items": {"type": "object", "properties": {"line": {"type": "integer"}}}},
        "two": {"type": "array", "minItems": 2, "items": {"type": "string"}},
    },
}  # fmt: skip


async def test_an_answer_in_a_form_holds_what_the_tools_gave(folder):
    (folder.root / "a.py").write_text("x = 1\n# TODO: more\n")
    talk = exchange(folder, instructions=f"Be brief.\n\n{form_of(FORM)}")
    answer = json.loads(await talk.ask("Review `a.py` for missing values, then run and plot it."))
    assert talk.called == ["read_file"]
    assert answer["findings"] == [{"line": 2}]
    assert (answer["level"], answer["count"], answer["ok"], answer["maybe"]) == ("low", 3, True, 7)
    assert 3 <= len(answer["name"]) <= 5
    assert len(answer["two"]) == 2


@pytest.mark.parametrize(
    "form", [{}, {"$defs": {"tree": TREE}, **TREE}, {"$ref": "#"}, {"type": "array", "items": {"$ref": "#"}}]
)
async def test_a_form_without_end_is_cut_off(folder, form):
    began = time.monotonic()
    talk = exchange(folder, tools=(), instructions=form_of(form))
    json.loads(await talk.ask("Fill it in."))
    assert time.monotonic() - began < 20
    assert schema_in("no form") is None
    assert schema_in(form_of(form)[:-1] + "x") is None
