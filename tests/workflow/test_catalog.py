"""The built-in workflows, carried out in the real sandbox over a real runner and store, with answers by script."""

import asyncio
import re
from collections import Counter
from typing import Any

import pytest
import pytest_asyncio

from jupyter_agent.exceptions import InvalidRequest
from jupyter_agent.records import Decision, RunStatus
from jupyter_agent.workflow.discovery import CATALOG
from tests.runtime.conftest import ALICE

from .actors import FAILS, staged

NAMES = ["data-profile", "deep-research", "find-issues", "plan-verify", "review-code"]
PLAN = {"summary": "S", "steps": [{"title": "One", "what": "w", "check": "c"}], "risks": []}


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(tmp_path_factory):
    async with staged(tmp_path_factory.mktemp("catalog")) as stage:
        (stage.world.workspace / "a.py").write_text("def add(a, b):\n    return a - b\n")
        yield stage


@pytest_asyncio.fixture(loop_scope="module")
async def stage(opened):
    """The stage as if nothing had been played on it."""
    opened.actor.heard.clear()
    for name in NAMES:
        await opened.world.storage.rows.forget_calls(name, "p", by=ALICE)
    return opened


def after(prompt: str, words: str) -> str | None:
    """The rest of the first line of a prompt that begins with these words."""
    return prompt.split("\n", maxsplit=1)[0].removeprefix(words).strip() if prompt.startswith(words) else None


def finding(title: str, line: int, **more: Any) -> dict[str, Any]:
    return {"title": title, "file": "a.py", "line": line, "severity": "high", "why": "w", "fix": "f", **more}


def kinds(heard: list[str]) -> Counter[str]:
    """How often each kind of call was made, by the first words of its prompt."""
    return Counter(" ".join(prompt.split()[:2]) for prompt in heard)


async def test_they_are_listed_first_and_approved(stage):
    listing = await stage.headless.listing()
    found = [one for one in listing.workflows if one.place == "built-in"]
    assert [one.script.name for one in found] == NAMES == sorted(path.stem for path in CATALOG.glob("*.py"))
    assert all(one.approved and one.shadowed_by is None for one in found)
    for one in found:
        meta = one.script.meta
        assert meta.description
        assert len(meta.phases) >= 2
        assert all(field.get("description") for field in meta.args["properties"].values())
        said = re.findall(r'phase\((?:"([^"]+)"|.*"([^"]+)" if .* else "([^"]+)")\)', one.script.text)
        assert {title for titles in said for title in titles if title} <= {phase.title for phase in meta.phases}
    stage.write("review-code", "1")
    (shadowed,) = [one for one in (await stage.headless.listing()).workflows if one.place == "config"]
    assert shadowed.shadowed_by == "built-in"


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("review-code", {}),
        ("review-code", {"path": "a.py", "aspects": []}),
        ("find-issues", {"finders": 0}),
        ("deep-research", {"question": "Why?", "more": 1}),
        ("plan-verify", {"task": ["x"]}),
        ("data-profile", {"questions": 3}),
    ],
)
async def test_arguments_that_they_do_not_take_are_refused_before_anything_starts(stage, name, args):
    before = await stage.headless.list_runs(by=ALICE)
    with pytest.raises(InvalidRequest, match="does not take these arguments"):
        await stage.headless.start(name, args, by=ALICE)
    assert await stage.headless.list_runs(by=ALICE) == before


# --- review-code ------------------------------------------------------------------------------------------------


def reviewing(prompt: str) -> Any:
    if after(prompt, "Read the code at"):
        return {"purpose": "It adds.", "files": [{"path": "a.py", "does": "adds"}]}
    match (after(prompt, "Review this code for one aspect alone:") or "").split(":")[0]:
        case "correctness":
            return {"findings": [finding("Subtracts", 2), finding("Overflows", 1, severity="low")]}
        case "security":
            return FAILS
        case "clarity":
            return {"findings": [finding("Sign is wrong", 2, severity="medium")]}
    if "looked at this code for correctness" in prompt:
        said = {"severity": "critical", "reason": "Line 2 has a minus."}
        return {"verdicts": [{"number": 0, "real": True, **said}, {"number": 1, "real": False, **said}]}
    return {
        "verdicts": [
            {"number": 0, "real": True, "severity": "low", "reason": "r"},
            {"number": 7, "real": False, "severity": "low", "reason": "r"},
        ]
    }


async def test_review_code_merges_what_a_sceptic_left_and_names_what_failed(stage):
    stage.actor.play = reviewing
    run = await stage.run("review-code", path="a.py")
    assert run.status is RunStatus.COMPLETED, run.error_message
    assert run.calls == 6
    assert kinds(stage.actor.heard) == {"Read the": 1, "Review this": 4, "A reviewer": 2}  # a failed one is tried twice
    (one,) = run.result["findings"]
    assert (one["title"], one["severity"], one["aspect"], one["checked"]) == (
        "Subtracts",
        "critical",
        "correctness",
        True,
    )
    assert one["also"] == ["clarity: Sign is wrong"]
    assert [one["title"] for one in run.result["rejected"]] == ["Overflows"]
    assert run.result["failed"] == ["security"]
    assert run.result["files"] == ["a.py"]
    report = run.result["report"]
    assert "## 1. Subtracts" in report
    assert "Overflows" not in report
    assert "Not reviewed for security" in report
    again = await stage.run("review-code", path="a.py")
    assert (again.calls, again.hits) == (6, 5)  # what failed is not stored: it is tried once more


async def test_review_code_keeps_findings_that_nobody_could_check_and_fails_when_nobody_reviewed(stage):
    stage.actor.play = lambda prompt: FAILS if prompt.startswith("A reviewer") else reviewing(prompt)
    run = await stage.run("review-code", path="a.py", aspects=["correctness"])
    assert [one["checked"] for one in run.result["findings"]] == [False, False]
    assert "not checked by a second reader" in run.result["report"]
    stage.actor.play = lambda prompt: FAILS if prompt.startswith("Review") else reviewing(prompt)
    run = await stage.run("review-code", path="a.py", aspects=["speed", "style"])
    assert (run.status, run.error_code) == (RunStatus.ERROR, "workflow_failed")
    assert "No reviewer answered" in run.error_message


async def test_review_code_tells_reviewers_what_the_author_says(stage):
    stage.actor.play = reviewing
    run = await stage.run("review-code", path="a.py", aspects=["correctness"], context="It must never overflow.")
    assert run.status is RunStatus.COMPLETED, run.error_message
    told = [prompt for prompt in stage.actor.heard if "It must never overflow." in prompt]
    assert kinds(told) == {"Read the": 1, "Review this": 1}


# --- find-issues ------------------------------------------------------------------------------------------------


def searching(prompt: str) -> Any:
    if prompt.startswith("Somebody reported"):
        return {"real": "Wrong sign" in prompt or "Late" in prompt, "severity": "high", "reason": "r"}
    round_number = int(re.search(r"This is round (\d+)", prompt)[1])
    side = prompt.split("\n\n")[1]
    issue = {"title": "Wrong sign", "file": "a.py", "line": 2, "severity": "low", "why": "w"}
    if round_number == 1 and side.startswith("Go through"):
        return {"issues": [issue]}
    if round_number == 1:
        # The same issue in other words, and one that is none.
        return {
            "issues": [{**issue, "title": "A minus that is none", "line": 3}, {**issue, "title": "Odd", "line": 40}]
        }
    if round_number == 2:
        return {"issues": [issue, {**issue, "title": "Late answer", "line": 80}]}
    return {"issues": [{**issue, "title": "The wrong sign", "line": 0}] if round_number == 3 else []}


async def test_find_issues_ends_after_two_rounds_with_nothing_new(stage):
    stage.actor.play = searching
    run = await stage.run("find-issues", path="a.py")
    assert run.status is RunStatus.COMPLETED, run.error_message
    assert (run.result["rounds"], run.result["stopped"]) == (4, "after 2 rounds in a row without anything new")
    assert [one["title"] for one in run.result["issues"]] == ["Wrong sign", "Late answer"]
    assert [one["title"] for one in run.result["rejected"]] == ["Odd"]
    assert kinds(stage.actor.heard) == {"Look in": 12, "Somebody reported": 3}
    assert run.calls == 15
    told = [prompt for prompt in stage.actor.heard if "This is round 2" in prompt]
    assert all("Wrong sign" in prompt and "Odd" in prompt for prompt in told)
    assert "## 1. Wrong sign" in run.result["report"]


async def test_find_issues_has_a_most_of_rounds_and_goes_on_without_a_finder(stage):
    def play(prompt: str) -> Any:
        return FAILS if "Follow the data" in prompt or prompt.startswith("Somebody") else searching(prompt)

    stage.actor.play = play
    run = await stage.run("find-issues", path="a.py", max_rounds=1, finders=2, what="signs")
    assert run.status is RunStatus.COMPLETED, run.error_message
    assert (run.result["rounds"], run.result["stopped"]) == (1, "after 1 rounds, the most that were allowed")
    assert (run.result["issues"], len(run.result["unchecked"])) == ([], 1)
    stage.actor.play = lambda _: FAILS
    run = await stage.run("find-issues", path="b.py")
    assert (run.status, run.error_code) == (RunStatus.ERROR, "workflow_failed")
    assert "No finder answered" in run.error_message
    assert run.calls == 3


# --- deep-research ----------------------------------------------------------------------------------------------


def researching(prompt: str) -> Any:
    if prompt.startswith("Plan how"):
        return {"parts": [{"question": "Is it big?", "look_for": ["size"]}, {"question": "Is it old?", "look_for": []}]}
    if prompt.startswith("Find out"):
        name = prompt.split("\n", maxsplit=1)[0].rsplit(" ", 1)[-1].strip("?")
        claims = [{"claim": f"It is {name}.", "source": f"a.py:{len(name)}", "quote": name}]
        if name == "old":
            claims.append({"claim": "It is false.", "source": "a.py:9", "quote": "x"})
        return {"claims": claims, "open": [f"how {name}"]}
    if prompt.startswith("Somebody who looked"):
        numbers = [int(number) for number in re.findall(r'"number": (\d+)', prompt)]
        return {"verdicts": [{"number": n, "holds": n == 0, "note": "" if n == 0 else "made up"} for n in numbers]}
    if prompt.startswith("The question:"):
        return {"parts": [{"question": "Is it red?", "look_for": ["red"]}]}
    return "It is big [1] and old [2], and blue [9]."


async def test_deep_research_uses_only_what_held_and_follows_up(stage):
    stage.actor.play = researching
    run = await stage.run("deep-research", question="What is it?")
    assert run.status is RunStatus.COMPLETED, run.error_message
    assert [one["claim"] for one in run.result["claims"]] == ["It is big.", "It is old.", "It is red."]
    assert all(one["checked"] for one in run.result["claims"])
    assert [one["note"] for one in run.result["rejected"]] == ["made up"]
    assert run.result["sources"] == ["a.py:3"]
    assert (run.result["open"], run.result["rounds"]) == (["how red"], 2)
    assert run.result["unknown_sources"] == [2, 9]
    assert run.calls == 1 + 2 + 2 + 1 + 1 + 1 + 1
    written = stage.actor.heard[-1]
    assert written.startswith("Write the answer")
    assert "It is false" not in written
    assert run.result["report"].endswith("## Sources\n\n1. a.py:3")


async def test_deep_research_goes_on_without_a_researcher_and_not_without_all(stage):
    stage.actor.play = lambda prompt: FAILS if "Is it old?" in prompt.split("\n")[0] else researching(prompt)
    run = await stage.run("deep-research", question="What is it?", rounds=1)
    assert run.result["failed"] == ["Is it old?"]
    assert [one["claim"] for one in run.result["claims"]] == ["It is big."]
    assert "- Is it old?" in stage.actor.heard[-1]
    stage.actor.play = lambda prompt: FAILS if prompt.startswith("Find out") else researching(prompt)
    run = await stage.run("deep-research", question="What then?")
    assert "No researcher answered" in run.error_message


async def test_deep_research_searches_where_and_with_what_it_is_told(stage):
    stage.actor.play = researching
    run = await stage.run("deep-research", question="What is it?", path="a.py", rounds=1, tools=["read_file"])
    assert run.status is RunStatus.COMPLETED, run.error_message
    searching = [prompt for prompt in stage.actor.heard if prompt.startswith(("Plan how", "Find out"))]
    assert len(searching) == 3
    assert all("`a.py`" in prompt for prompt in searching)
    held = await stage.world.storage.rows.held_calls(run.workflow_run_id)
    assert {tuple(call.fields.get("tools", {})) for call in held} == {("read_file",), ()}
    assert all(("read_file" in call.fields.get("tools", {})) == (call.label != "write") for call in held)
    run = await stage.run("deep-research", question="What is it?", tools=["no_such_tool"])
    assert (run.status, run.calls) == (RunStatus.ERROR, 0)
    assert "no_such_tool" in run.error_message


# --- plan-verify ------------------------------------------------------------------------------------------------


def planning(prompt: str) -> Any:
    if prompt.startswith("A plan for"):
        holds = "Revised" in prompt or "from one side: Walk" in prompt
        return {
            "holds": holds,
            "problems": [] if holds else [{"step": 1, "problem": "There is no b.py", "fix": "Use a.py"}],
        }
    if prompt.startswith("This plan was"):
        return {**PLAN, "summary": "Revised"}
    return PLAN


async def test_plan_verify_revises_until_nobody_objects(stage):
    stage.actor.play = lambda prompt: FAILS if "Your aim: each step" in prompt else planning(prompt)
    run = await stage.run("plan-verify", task="Add numbers")
    assert run.status is RunStatus.COMPLETED, run.error_message
    assert (run.result["verified"], run.result["revisions"], run.result["problems"]) == (True, 1, [])
    assert run.result["plan"]["summary"] == "Revised"
    assert run.result["approved"] is None
    assert kinds(stage.actor.heard) == {"Plan this": 4, "Several people": 1, "A plan": 6, "This plan": 1}
    assert run.calls == 3 + 1 + 3 + 1 + 3
    assert "1. **One**: w" in run.result["report"]


async def test_plan_verify_gives_up_revising_and_says_what_is_open(stage):
    def play(prompt: str) -> Any:
        if prompt.startswith("A plan for"):
            return (
                FAILS
                if "from one side: Walk" in prompt
                else {"holds": False, "problems": [{"step": 1, "problem": "No", "fix": "f"}]}
            )
        return planning(prompt)

    stage.actor.play = play
    run = await stage.run("plan-verify", task="Add numbers", max_revisions=1)
    assert (run.result["verified"], run.result["revisions"]) == (False, 1)
    assert {one["side"] for one in run.result["problems"]} == {"facts", "completeness"}
    assert run.result["unverified"] == ["order"]
    assert "## Still open" in run.result["report"]


async def test_plan_verify_says_who_objected_without_a_reason(stage):
    def play(prompt: str) -> Any:
        return {"holds": "Walk" in prompt, "problems": []} if prompt.startswith("A plan for") else planning(prompt)

    stage.actor.play = play
    run = await stage.run("plan-verify", task="Add numbers", path="a.py", max_revisions=0)
    assert (run.result["verified"], run.result["revisions"], run.result["problems"]) == (False, 0, [])
    assert "It does not hold for facts, completeness" in run.result["report"]
    assert all("`a.py`" in prompt for prompt in stage.actor.heard)


async def test_plan_verify_asks_a_person_however_long_the_plan_is(stage):
    long = {**PLAN, "steps": [{**PLAN["steps"][0], "what": "w" * 40_000}]}
    stage.actor.play = lambda prompt: {"holds": True, "problems": []} if prompt.startswith("A plan for") else long
    run = await stage.headless.start("plan-verify", {"task": "Add numbers", "gate": True}, by=ALICE)
    async with asyncio.timeout(60):
        while not (now := await stage.headless.get(run.workflow_run_id, by=ALICE)).waits_for:
            assert not await stage.headless.is_over(now), now
            await asyncio.sleep(0.02)
    (asked,) = await stage.world.runner.approvals(now.waits_for[0], by=ALICE)
    detail = asked.preview["arguments"]["detail"]
    assert detail.startswith("# Plan: Add numbers")
    assert detail.endswith("It is longer than can be shown here.")
    await stage.world.runner.resolve(
        now.waits_for[0], decision=Decision.APPROVE, approval_id=asked.approval_id, by=ALICE
    )
    ended = await stage.ended(run)
    assert (ended.status, ended.result["approved"]) == (RunStatus.COMPLETED, True)
    assert ended.result["report"].endswith("A person approved it.")
    assert len(ended.result["report"]) > 40_000


@pytest.mark.parametrize(("name", "args"), [("plan-verify", {"task": "   "}), ("deep-research", {"question": " \n "})])
async def test_nothing_is_spent_on_an_empty_task(stage, name, args):
    run = await stage.run(name, **args)
    assert (run.status, run.calls) == (RunStatus.ERROR, 0)
    assert "is empty" in run.error_message


# --- data-profile -----------------------------------------------------------------------------------------------


def profiling(prompt: str) -> Any:
    if prompt.startswith("Profile the table"):
        column = {"name": "n", "kind": "number", "missing": "none", "range": "1 to 2", "note": ""}
        return {"rows": "2", "is_whole": True, "columns": [column], "remarks": []}
    if prompt.startswith("This is what is known"):
        return {"questions": [{"question": f"Q{n}?", "why": "w", "how": "h"} for n in range(5)]}
    if prompt.startswith("Answer one question"):
        if "Q1?" in prompt:
            return FAILS
        return {"verdict": "yes", "answer": "It does.", "evidence": "Row 1.", "caveat": "Two rows."}
    return "A table of two rows."


async def test_data_profile_of_a_file_checks_each_question_in_it(stage):
    stage.actor.play = profiling
    run = await stage.run("data-profile", path="t.csv", questions=3, question="Does it grow?")
    assert run.status is RunStatus.COMPLETED, run.error_message
    assert [one["question"] for one in run.result["answers"]] == ["Q0?", "Q2?"]
    assert run.result["failed"] == ["Q1?"]
    assert '"rows": "2"' in run.result["profile"]
    assert run.result["report"] == "A table of two rows."
    assert run.calls == 1 + 1 + 3 + 1
    assert "Does it grow?" in stage.actor.heard[1]
    assert "Could not be looked into: Q1?" in stage.actor.heard[-1]


async def test_data_profile_of_a_frame_as_text_reads_no_file(stage):
    stage.actor.play = profiling
    run = await stage.run("data-profile", profile="2 rows\nn: int64, 0 missing")
    assert run.status is RunStatus.COMPLETED, run.error_message
    assert run.result["profile"] == "2 rows\nn: int64, 0 missing"
    assert run.calls == 1 + 4 + 1
    assert not [prompt for prompt in stage.actor.heard if prompt.startswith("Profile")]
    assert all("You have nothing but this profile" in one for one in stage.actor.heard if one.startswith("Answer one"))


async def test_data_profile_computes_only_where_it_is_told_to(stage):
    stage.actor.play = profiling
    for compute, tools in ((False, {"read_file", "search_files"}), (True, {"read_file", "search_files", "run_cell"})):
        stage.actor.heard.clear()
        run = await stage.run("data-profile", path="t.csv", compute=compute, questions=1)
        assert run.status is RunStatus.COMPLETED, run.error_message
        held = await stage.world.storage.rows.held_calls(run.workflow_run_id)
        with_tools = [set(call.fields["tools"]) for call in held if call.fields.get("tools")]
        assert with_tools == [tools, tools]
        assert ("Compute with pandas" in stage.actor.heard[0]) == compute
