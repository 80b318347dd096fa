"""run_cell and ask_user: what a person sees before, and what silence means."""

import pytest

from jupyter_agent.exceptions import InvalidArguments
from jupyter_agent.tools import first_toolbox
from jupyter_agent.tools.run_cell import TIMEOUT_S
from jupyter_agent.tools.visible import quoted_name, visible

BOX = first_toolbox()


async def test_run_cell_executes_in_the_environment(use, call) -> None:
    assert await use("run_cell", code="1 + 1") == "ran 5 characters"
    assert call.environment.cells == [("1 + 1", TIMEOUT_S)]
    assert call.shown == ["working"]
    assert BOX.get("run_cell").spec.sequential
    assert BOX.get("run_cell").spec.timeout_s > TIMEOUT_S
    for code in ("", " \n\t"):
        with pytest.raises(InvalidArguments):
            await use("run_cell", code=code)
    assert len(call.environment.cells) == 1


def test_the_code_to_run_is_shown_with_nothing_hidden(call) -> None:
    preview = BOX.get("run_cell").preview
    assert preview is not None
    code = "x = 1\n\n\tif a\u200b == '\u202e': pass \u3164\r\n# \U000e0041 \ufe0f é 中 🙂"
    shown = preview(call.environment, {"code": code})
    assert shown["code"] == (
        "x = 1\n\n\tif a⟨U+200B⟩ == '⟨U+202E⟩': pass ⟨U+3164⟩⟨U+000D⟩\n# ⟨U+E0041⟩ ⟨U+FE0F⟩ é 中 🙂"
    )
    assert shown["lines"] == 4
    assert shown["characters"] == len(code)
    assert shown["invisible"]["U+202E RIGHT-TO-LEFT OVERRIDE"] == 1
    plain = preview(call.environment, {"code": "print(1)\n" * 10_000})
    assert plain["code"] == "print(1)\n" * 10_000
    assert "invisible" not in plain


def test_text_made_visible() -> None:
    assert visible("plain\n\ttext") == "plain\n\ttext"
    assert visible("\x1b[2J\0\x7f") == "⟨U+001B⟩[2J⟨U+0000⟩⟨U+007F⟩"
    assert visible("a\u00a0b\u2028") == "a⟨U+00A0⟩b⟨U+2028⟩"
    assert visible("\ud800") == "⟨U+D800⟩"
    assert quoted_name("a b.csv") == "a b.csv"
    assert quoted_name("a\nb") == '"a\\nb"'
    assert quoted_name(" a") == '" a"'


async def test_ask_user_gives_the_answer(use, call) -> None:
    call.reply = "the blue one"
    assert await use("ask_user", prompt="Which one?") == "the blue one"
    form = {"type": "object", "properties": {"n": {"type": "integer"}}}
    call.reply = '{"n": 3}'
    assert await use("ask_user", prompt="How many?", schema=form) == '{"n": 3}'
    assert call.asked == [("Which one?", None), ("How many?", form)]


async def test_silence_is_no_answer(call) -> None:
    tool = BOX.get("ask_user")
    answer = await tool.call(call, {"prompt": "Which one?"})
    assert answer.is_error
    assert answer.content.startswith("No answer: nobody answered in time.")
    call.reply = ""
    answer = await tool.call(call, {"prompt": "Which one?"})
    assert (answer.content, answer.is_error) == ("", False)


async def test_questions_that_cannot_be_asked(use, call) -> None:
    with pytest.raises(InvalidArguments, match="prompt"):
        await use("ask_user", prompt="")
    with pytest.raises(InvalidArguments, match="cannot be shown as a form"):
        await use("ask_user", prompt="?", schema={"type": "string"})
    with pytest.raises(InvalidArguments, match="cannot be shown as a form"):
        await use("ask_user", prompt="?", schema={"type": "object", "properties": {"a": {"type": "nonsense"}}})
    assert call.asked == []
