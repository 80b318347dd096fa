"""Policies as tables, and what holds for every policy and every call."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_agent.records import Effect, ToolSpec
from jupyter_agent.runtime.policy import (
    POLICIES,
    CallFacts,
    Policy,
    Rule,
    Ruling,
    Verdict,
    approval_hash,
    facts_of,
    may_be_remembered,
    paths_of,
    strictest,
)
from jupyter_agent.tools import first_toolbox

READ, WRITE, EXEC, NETWORK = Effect.READ, Effect.WRITE, Effect.EXEC, Effect.NETWORK
ALLOW, ASK, DENY = Verdict.ALLOW, Verdict.ASK, Verdict.DENY

FIRST_TOOLS: list[tuple[str, dict[str, Any], Verdict, Verdict]] = [
    # tool, arguments, default, read-only
    ("list_files", {}, ALLOW, ALLOW),
    ("list_files", {"path": "data"}, ALLOW, ALLOW),
    ("list_files", {"path": ".ssh"}, ASK, ASK),
    ("list_files", {"pattern": ".*"}, ASK, ASK),
    ("read_file", {"path": "data/a.csv"}, ALLOW, ALLOW),
    ("read_file", {"path": ".env"}, ASK, ASK),
    ("read_file", {"path": "sub/.git/config"}, ASK, ASK),
    ("read_file", {"path": "server.pem"}, ASK, ASK),
    ("search_files", {"query": "x"}, ALLOW, ALLOW),
    ("search_files", {"query": "x", "path": ".aws"}, ASK, ASK),
    ("create_file", {"path": "a.txt", "content": ""}, ASK, DENY),
    ("run_cell", {"code": "1"}, ASK, DENY),
    ("ask_user", {"prompt": "?"}, ALLOW, ALLOW),
]


@pytest.mark.parametrize(("tool", "arguments", "default", "read_only"), FIRST_TOOLS)
def test_the_first_tools(tool: str, arguments: dict[str, Any], default: Verdict, read_only: Verdict) -> None:
    facts = facts_of(first_toolbox().get(tool).spec, arguments, workspace="/w", user_id="owner")
    assert POLICIES["default"].decide(facts).verdict is default
    assert POLICIES["read-only"].decide(facts).verdict is read_only
    assert POLICIES["tools-off"].decide(facts).verdict is DENY


@pytest.mark.parametrize(
    ("effects", "verdict", "rule"),
    [
        ((), ALLOW, "default/reads"),
        ((READ,), ALLOW, "default/reads"),
        ((WRITE,), ASK, "default/writes"),
        ((EXEC,), ASK, "default/executes"),
        ((NETWORK,), ASK, "default/sends"),
        ((READ, EXEC), ASK, "default/executes"),
        ((READ, WRITE, EXEC, NETWORK), ASK, "default/executes"),
    ],
)
def test_client_tools_count_by_what_they_declare(effects: tuple[Effect, ...], verdict: Verdict, rule: str) -> None:
    spec = ToolSpec(name="mine", description="", parameters={}, effects=effects, client=True)
    # The path of a client's function need not be a file: no secret is suspected in its name.
    ruling = POLICIES["default"].decide(facts_of(spec, {"path": ".env"}))
    assert (ruling.verdict, ruling.rule) == (verdict, rule)
    assert ruling.reason.endswith(".")


def test_undeclared_client_tools_read() -> None:
    spec = ToolSpec(name="mine", description="", parameters={}, client=True)
    assert POLICIES["default"].decide(facts_of(spec, {})).verdict is ALLOW


def facts(tool: str = "t", effects: tuple[Effect, ...] = (READ,), **arguments: Any) -> CallFacts:
    return CallFacts(tool=tool, effects=effects, arguments=arguments)


def rule(verdict: Verdict, **conditions: Any) -> Rule:
    return Rule(name=str(verdict), verdict=verdict, reason="Because.", **conditions)


@pytest.mark.parametrize(
    ("one", "call", "matches"),
    [
        (rule(ALLOW), facts(), True),
        (rule(ALLOW, tools=("read_*",)), facts("read_file"), True),
        (rule(ALLOW, tools=("read_*",)), facts("Read_file"), False),
        (rule(ALLOW, tools=()), facts(), False),
        # to allow, everything must fit; to ask or to deny, one thing is enough
        (rule(ALLOW, effects=(READ,)), facts(effects=(READ, EXEC)), False),
        (rule(ALLOW, effects=(READ, EXEC)), facts(effects=(READ, EXEC)), True),
        (rule(ALLOW, effects=(READ,)), facts(effects=()), True),
        (rule(DENY, effects=(EXEC,)), facts(effects=(READ, EXEC)), True),
        (rule(ASK, effects=(EXEC,)), facts(effects=(READ,)), False),
        (rule(ASK, effects=(EXEC,)), facts(effects=()), False),
        (rule(ALLOW, paths=("data/*",)), facts(path="data/deep/a.csv"), True),
        (rule(ALLOW, paths=("data/*",)), facts(), False),
        (rule(ALLOW, paths=("data/*",)), facts(path="data/a", cwd="elsewhere"), False),
        (rule(ALLOW, paths=("data/*",)), facts(paths=["data/a", "b"]), False),
        (rule(DENY, paths=("private/*",)), facts(path="data/a", paths=["private/b"]), True),
        (rule(DENY, paths=("private/*",)), facts(), False),
        (rule(ASK, sensitive=True), facts(), False),
        (rule(DENY, client_tools=True), facts(), False),
        (rule(DENY, client_tools=False), facts(), True),
    ],
)
def test_what_a_rule_matches(one: Rule, call: CallFacts, *, matches: bool) -> None:
    assert one.matches(call) is matches


def test_the_first_rule_that_matches_decides_and_is_named() -> None:
    policy = Policy(name="p", rules=(rule(DENY, tools=("a",)), rule(ALLOW, tools=("a", "b")), rule(DENY, tools=("b",))))
    assert policy.decide(facts("a")) == Ruling(verdict=DENY, rule="p/deny", reason="Because.")
    assert policy.decide(facts("b")).verdict is ALLOW
    assert policy.decide(facts("c")) == Ruling(verdict=ASK, rule="p/otherwise", reason="No rule speaks of this call.")


def test_remembered_approvals() -> None:
    policy = POLICIES["default"]
    write = facts("create_file", (WRITE,), path="a.txt")
    assert policy.decide(write, granted=[write.grant]).verdict is ALLOW
    assert policy.decide(write, granted=[write.grant]).rule == "default/remembered"
    assert policy.decide(write, granted=[]).verdict is ASK
    # the same tool with the same effects, nothing else
    assert policy.decide(write, granted=[("edit_file", ("write",))]).verdict is ASK
    assert policy.decide(write, granted=[("create_file", ("read",))]).verdict is ASK
    assert policy.decide(facts("create_file", (WRITE, EXEC)), granted=[write.grant]).verdict is ASK
    # never what executes, sends or touches secrets, and never against a denial
    for effects in ((EXEC,), (NETWORK,), (WRITE, EXEC)):
        call = facts("t", effects)
        assert not may_be_remembered(call)
        assert policy.decide(call, granted=[call.grant]).verdict is ASK
    secret = CallFacts(tool="read_file", effects=(READ,), arguments={"path": ".env"}, sensitive=True)
    assert policy.decide(secret, granted=[secret.grant]).verdict is ASK
    assert POLICIES["read-only"].decide(write, granted=[write.grant]).verdict is DENY


def test_a_run_cannot_loosen_the_servers_policy() -> None:
    call = facts("create_file", (WRITE,), path="a")
    rulings = [POLICIES[name].decide(call) for name in ("default", "read-only")]
    assert strictest(rulings).verdict is DENY
    assert strictest(reversed(rulings)).rule == "read-only/changes"
    assert strictest(rulings[:1]).verdict is ASK


def test_policies_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        POLICIES["default"] = POLICIES["tools-off"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        POLICIES["default"].rules = ()  # type: ignore[misc]


# --- what always holds ----------------------------------------------------------------------------------------

EFFECTS = st.lists(st.sampled_from(Effect), unique=True, max_size=4).map(tuple)
PATH = st.sampled_from(["data/a", "data/b/c", "private/x", ".env", "a.txt", ""])
ARGUMENTS = st.dictionaries(
    st.sampled_from(["path", "paths", "cwd", "code", "content", "pattern"]),
    PATH | st.lists(PATH, max_size=3) | st.none() | st.integers(),
    max_size=4,
)
GLOBS = st.lists(st.sampled_from(["data/*", "private/*", "*", ".*", "a.txt"]), max_size=2).map(tuple)
RULES = st.builds(
    Rule,
    name=st.just("r"),
    verdict=st.sampled_from(Verdict),
    reason=st.just("Because."),
    tools=st.lists(st.sampled_from(["*", "a*", "b"]), max_size=2).map(tuple),
    effects=st.none() | EFFECTS,
    paths=st.none() | GLOBS,
    sensitive=st.none() | st.booleans(),
    client_tools=st.none() | st.booleans(),
)
POLICY = st.builds(Policy, name=st.just("p"), rules=st.lists(RULES, max_size=5).map(tuple))
SPEC = st.builds(
    ToolSpec,
    name=st.sampled_from(["a", "ab", "b"]),
    description=st.just(""),
    parameters=st.just({}),
    effects=EFFECTS,
    client=st.booleans(),
)
STRICTNESS = [ALLOW, ASK, DENY]


@given(POLICY, SPEC, ARGUMENTS)
def test_the_first_match_decides(policy: Policy, spec: ToolSpec, arguments: dict[str, Any]) -> None:
    call = facts_of(spec, arguments)
    first = next((one for one in policy.rules if one.matches(call)), None)
    assert policy.decide(call).verdict is (first.verdict if first else ASK)
    assert policy.decide(call) == policy.decide(call)


@given(st.sampled_from(sorted(POLICIES)), SPEC, ARGUMENTS, ARGUMENTS)
def test_more_arguments_never_loosen(name: str, spec: ToolSpec, few: dict[str, Any], more: dict[str, Any]) -> None:
    before = POLICIES[name].decide(facts_of(spec, few)).verdict
    after = POLICIES[name].decide(facts_of(spec, more | few)).verdict
    assert STRICTNESS.index(after) >= STRICTNESS.index(before)


@given(st.sampled_from(sorted(POLICIES)), SPEC, EFFECTS, ARGUMENTS)
def test_more_effects_never_loosen(
    name: str, spec: ToolSpec, more: tuple[Effect, ...], arguments: dict[str, Any]
) -> None:
    call = facts_of(spec, arguments)
    wider = CallFacts(
        tool=call.tool,
        effects=tuple(dict.fromkeys((*call.effects, *more))),
        arguments=arguments,
        is_client_tool=call.is_client_tool,
        sensitive=call.sensitive,
    )
    before, after = POLICIES[name].decide(call).verdict, POLICIES[name].decide(wider).verdict
    assert STRICTNESS.index(after) >= STRICTNESS.index(before)


@given(RULES, SPEC, ARGUMENTS, ARGUMENTS)
def test_one_rule_with_more_paths(one: Rule, spec: ToolSpec, few: dict[str, Any], more: dict[str, Any]) -> None:
    """An allowing rule that did not fit a call with paths fits it no better with more; a denying one goes on to fit."""
    narrow, wide = facts_of(spec, few), facts_of(spec, more | few)
    if narrow.sensitive != wide.sensitive or not paths_of(few):
        return
    if one.verdict is ALLOW:
        assert one.matches(narrow) or not one.matches(wide)
    else:
        assert one.matches(wide) or not one.matches(narrow)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
CALL = st.tuples(
    st.text(max_size=5),
    st.dictionaries(st.text(max_size=4), JSON, max_size=3),
    st.text(max_size=5),
    st.text(max_size=5),
)


@given(CALL, CALL)
def test_a_hash_covers_exactly_one_call(one: Any, other: Any) -> None:
    reordered = dict(reversed(one[1].items()))
    assert approval_hash(*one) == approval_hash(one[0], reordered, *one[2:])
    same = repr((one[0], sorted(one[1].items()), *one[2:])) == repr((other[0], sorted(other[1].items()), *other[2:]))
    if not same and one != other:
        assert approval_hash(*one) != approval_hash(*other)


def test_a_hash_tells_calls_apart_that_look_alike() -> None:
    calls: list[tuple[str, dict[str, Any], str, str]] = [
        ("t", {"a": 1}, "/w", "k"),
        ("t", {"a": "1"}, "/w", "k"),
        ("t", {"a": True}, "/w", "k"),
        ("t", {"a": 1.0}, "/w", "k"),
        ("t", {"a": [1]}, "/w", "k"),
        ("t", {"a": 1, "b": None}, "/w", "k"),
        ("t", {"a": 1}, "/w2", "k"),
        ("t", {"a": 1}, "/w", "k2"),
        ("t", {"a": 1}, "/wk", ""),
        ("t2", {"a": 1}, "/w", "k"),
        ("t", {"a": "é"}, "/w", "k"),
        ("t", {"a": "e\u0301"}, "/w", "k"),
    ]
    hashes = {approval_hash(*call) for call in calls}
    assert len(hashes) == len(calls)
    assert all(len(one) == 64 for one in hashes)
    with pytest.raises(ValueError, match="JSON"):
        approval_hash("t", {"a": float("nan")}, "/w", "k")
    assert approval_hash("t", {"a": "\ud800"}, "/w", "k")
