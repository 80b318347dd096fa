"""What the demo model does with the person: greet, explain itself, ask, look at pictures, call a tool by its name."""

import json
import re
import struct
from typing import Any

from ...records import ToolResult, ToolSpec
from ..answer import Answer
from .conversation import Conversation, quoted, tool_call
from .phrases import SELF, counted, joined
from .reading import excerpt

KNOWN = frozenset({"list_files", "read_file", "search_files", "create_file", "run_cell", "run_command", "ask_user"})
"""Tools that have rules of their own; others are called when the task names them."""

ABILITIES = """\
- *Which of the CSV files here has the most missing values? Plot them.*
- *List the files*, *read `notes.md`*, *search for "budget"*
- *How many lines has `data.csv`?*, *how many files are here?*
- *Summarise `data.csv`*, *summarise the frame `df`*
- *Plot the column price of `data.csv`*
- *Write a file `hello.txt` with Good morning*
- *Run `1 + 1`*, *run the command `ls`*, *compute 6 * 7*
- *Ask me for my favourite colour*
- *Call the tool `name` with x=1*, for tools of your own
- and I look at pictures that you attach, as far as rules can"""


def introduce(talk: Conversation) -> Answer:
    """Says what this model is and what it can be asked."""
    greeted = talk.says(r"^\s*(hi|hello|hey|good (morning|day|evening)|thanks?|thank you)\b")
    helped = talk.says(r"\bhelp\b|who are you|what (can|do) you|what are you")
    first = "Hello! " if greeted else "" if helped or not talk.task else "I have no rule for that. "
    return Answer(
        thinking="Somebody is here to talk to. I say what I am and what I can do."
        if greeted or helped
        else "None of my rules for files, tables or code fits this. I say what I am and what I can do.",
        text=f"{first}{SELF} I use the real tools and never make up a result. Ask me for example:\n\n{ABILITIES}\n\n"
        "For open questions choose a language model with `--model`.",
    )


def ask(talk: Conversation) -> Answer:
    """Puts a question to the person and repeats the answer, in a file if one is named."""
    answered = talk.done("ask_user")
    if not talk.tried("ask_user"):
        return Answer(
            thinking="I am told to ask, so I ask and wait for the answer.",
            text="I have a question for you.",
            calls=(tool_call("ask_user", **_question(talk)),),
        )
    answer = answered[-1].content.strip()
    name = next(iter(talk.files()), None)
    if name and talk.has("create_file") and not talk.tried("create_file"):
        return Answer(
            thinking=f"There is an answer, and it is to be kept in {name}.",
            text=f"Thank you. I write that to `{name}`.",
            calls=(tool_call("create_file", path=name, content=answer + "\n"),),
        )
    kept = f" It is in `{name}` now." if name and talk.done("create_file") else ""
    return Answer(thinking="There is an answer.", text=f"Thank you! You answered: **{answer[:500]}**.{kept}")


def _question(talk: Conversation) -> dict[str, Any]:
    rest = re.split(r"\bask (?:me|the user|us)\b", talk.task[:500], maxsplit=1, flags=re.IGNORECASE)[-1]
    rest = re.split(r"\b(?:and|then) (?:write|save|store|put)\b", rest, maxsplit=1)[0].strip(" ,.:?!")
    mine = {"i": "you", "my": "your", "me": "you", "am": "are", "mine": "yours", "myself": "yourself"}
    words = " ".join(mine.get(word.lower(), word) for word in rest.split())
    if not words:
        return {"prompt": "What would you like to tell me?"}
    if re.match(r"(for|about)\b", words):
        topic = words.split(" ", 1)[1] if " " in words else "it"
        return {
            "prompt": f"Please tell me {topic}." if words.startswith("for") else f"What can you tell me about {topic}?"
        }
    if re.match(r"(if|whether)\b", words):
        return {"prompt": f"Please say {words}: yes or no?"}
    return {"prompt": f"{words[0].upper()}{words[1:]}?"}


def named_tool(talk: Conversation) -> ToolSpec | None:
    """Returns the offered tool without rules of its own that the task names."""
    for name, tool in talk.tools.items():
        if name not in KNOWN and talk.says(rf"(?<!\w){re.escape(name)}(?!\w)"):
            return tool
    return None


def call_named_tool(talk: Conversation) -> Answer:
    """Calls the tool with the values that the task gives, and shows its result."""
    tool = named_tool(talk)
    if tool is None:
        return introduce(talk)
    if talk.tried(tool.name):
        step = talk.done(tool.name)[-1]
        return Answer(
            thinking=f"{tool.name} has answered.", text=f"`{tool.name}` gave:\n\n{excerpt(step.content, lines=40)}"
        )
    arguments, lacking = _arguments(talk, tool)
    if lacking:
        example = ", ".join(f"{name}=…" for name in lacking)
        return Answer(text=f"To call `{tool.name}` I need {joined(lacking)}: say *call {tool.name} with {example}*.")
    return Answer(
        thinking=f"The task names the tool {tool.name}, so I call it with what it gives.",
        text=f"I call `{tool.name}`.",
        calls=(tool_call(tool.name, **arguments),),
    )


def _arguments(talk: Conversation, tool: ToolSpec) -> tuple[dict[str, Any], list[str]]:
    """Returns the arguments found in the task, and the names of required ones that are not there.

    `name=value` and `name: value` come first; then quotations and numbers fill what is left, in the schema's order.
    """
    properties: dict[str, Any] = tool.parameters.get("properties", {})
    required: list[str] = tool.parameters.get("required", [])
    text = talk.task[:2_000]
    arguments: dict[str, Any] = {}
    for name in properties:
        if found := re.search(rf"(?<!\w){re.escape(name)}\s*[=:]\s*(\"[^\"]*\"|'[^']*'|\[[^\]]*\]|[^\s,;]+)", text):
            arguments[name] = _value(found[1])
            text = text.replace(found[0], " ")
    free: list[Any] = [word for word in quoted(text) if word != tool.name]
    numbers = [_value(number) for number in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w])", text)]
    for name in required:
        kind = properties.get(name, {}).get("type")
        pool = numbers if kind in ("number", "integer") else free
        if name not in arguments and pool:
            arguments[name] = pool.pop(0)
    return arguments, [name for name in required if name not in arguments]


def _value(text: str) -> Any:
    text = text.rstrip(".!?") if not text.endswith(("'", '"')) else text
    try:
        return json.loads(text.replace("'", '"'))
    except ValueError:
        return text.strip("'\"")


def describe_images(talk: Conversation) -> Answer:
    """Says what can be known of the attached pictures without seeing: kind, size in pixels and bytes."""
    facts = []
    for number, image in enumerate(talk.images, start=1):
        data = talk.request.images.get(image.blob, b"")
        size = image_size(data)
        pixels = f", {size[0]} by {size[1]} pixels" if size else ""
        facts.append(
            f"{number}. {image.mime}{pixels}, {len(data):,} bytes"
            if data
            else f"{number}. {image.mime}, its bytes are not here"
        )
    return Answer(
        thinking="Pictures are attached. I have no eyes, only their bytes: I read what their headers say.",
        text=f"You attached {counted(len(talk.images), 'picture')}:\n\n" + "\n".join(facts) + f"\n\n{SELF} "
        "So I cannot tell what they show: a model that sees images can, choose one with `--model`.",
    )


def image_size(data: bytes) -> tuple[int, int] | None:
    """Returns width and height in pixels from the header of PNG, GIF, JPEG or WebP bytes, None for others."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        return struct.unpack(">II", data[16:24])
    if data[:6] in (b"GIF87a", b"GIF89a") and len(data) >= 10:
        return struct.unpack("<HH", data[6:10])
    if data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8X" and len(data) >= 30:
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data.startswith(b"\xff\xd8"):
        return _jpeg_size(data)
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            return width, height
        place += 2 + length
    return None


def recall(talk: Conversation) -> Answer:
    """Sums up the thread so far from its messages: who asked what, and what the tools gave."""
    lines: list[str] = []
    for message in talk.request.messages[:-1]:
        if message.role == "user":
            lines.append(f"- Asked: {' '.join(message.text.split())[:300]}")
        lines += [
            f"- `{part.name}` {'failed' if part.is_error else 'gave'}: {' '.join(part.content.split())[:200]}"
            for part in message.parts
            if isinstance(part, ToolResult)
        ]
    return Answer(
        thinking="I pass on what was asked and found, in order.", text="\n".join(lines[-60:]) or "Nothing yet."
    )


def lacking(talk: Conversation, answer: Answer) -> Answer:
    """Returns what is said in place of calls to tools that are not offered."""
    names = list(dict.fromkeys(call.name for call in answer.calls if call.name not in talk.tools))
    offered = f"I have {joined(talk.tools)}." if talk.tools else "I have no tools at all here."
    return Answer(
        thinking=f"I would call {', '.join(names)}, which I was not given.",
        text=f"For that I need {joined(names)}, which this run does not offer. {offered}",
    )


def sum_up(talk: Conversation) -> Answer:
    """Says what was done so far: for a closing turn without tools, or after too many rounds."""
    if not talk.steps:
        return Answer(text="I stop here: I may use no more tools, and nothing was done yet.")
    lines = (
        f"- `{step.name}`: {'failed: ' if step.is_error else ''}{' '.join(step.content.split())[:160]}"
        for step in talk.steps[-12:]
    )
    return Answer(
        thinking="I may use no more tools. I sum up what was done.",
        text="I stop here, without a full answer. What was done so far:\n\n" + "\n".join(lines),
    )
