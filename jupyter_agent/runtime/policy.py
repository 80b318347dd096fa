"""Decides whether a tool call may run, needs a person, or may not: ordered rules, the first that matches.

A policy is a pure function of the facts of a call, so that it can be tried on calls of the past. How a rule matches
depends on which way it errs. A rule that allows must fit all of a call: each of its effects and each of its paths. A
rule that asks or denies needs only one of them. So more effects or more paths never loosen a decision.
"""

import hashlib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, Final

from ..records import Effect, Record, ToolSpec, canonical_json
from ..tools.sensitive import is_sensitive

Grant = tuple[str, tuple[str, ...]]
"""An approval that is remembered: the tool's name and its effects, which must still be the same."""

PATH_ARGUMENTS: Final = ("path", "paths", "cwd", "folder", "source", "target")
"""The arguments of server tools that name files or folders."""


class Verdict(StrEnum):
    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


class Ruling(Record, frozen=True, kw_only=True):
    """What was decided: by which rule of which policy, and why, as a sentence for people and models."""

    verdict: Verdict
    rule: str
    reason: str


class CallFacts(Record, frozen=True, kw_only=True):
    """What a policy knows of a call. `arguments` are the checked ones; `workspace` is where they act.

    `sensitive` says that a path of the call names a dot-file or what usually holds secrets.
    """

    tool: str
    effects: tuple[Effect, ...]
    arguments: dict[str, Any]
    workspace: str = ""
    user_id: str = ""
    is_client_tool: bool = False
    sensitive: bool = False

    @property
    def paths(self) -> tuple[str, ...]:
        """The files and folders that the call names."""
        return paths_of(self.arguments)

    @property
    def grant(self) -> Grant:
        """What an approval of this call covers where it is remembered."""
        return self.tool, tuple(self.effects)


class Rule(Record, frozen=True, kw_only=True):
    """One line of a policy. What is left out matches every call; `tools` and `paths` are globs (`*` crosses `/`)."""

    name: str
    verdict: Verdict
    reason: str
    tools: tuple[str, ...] = ("*",)
    effects: tuple[Effect, ...] | None = None
    paths: tuple[str, ...] | None = None
    sensitive: bool | None = None
    client_tools: bool | None = None

    def matches(self, facts: CallFacts) -> bool:
        return (
            _fits(facts.tool, self.tools)
            and self._is_of_kind(facts)
            and self._matches_effects(facts.effects)
            and self._matches_paths(facts.paths)
        )

    def _is_of_kind(self, facts: CallFacts) -> bool:
        return self.sensitive in (None, facts.sensitive) and self.client_tools in (None, facts.is_client_tool)

    def _matches_effects(self, effects: tuple[Effect, ...]) -> bool:
        if self.effects is None:
            return True
        hits = [effect in self.effects for effect in effects]
        return all(hits) if self.verdict is Verdict.ALLOW else any(hits)

    def _matches_paths(self, paths: tuple[str, ...]) -> bool:
        if self.paths is None:
            return True
        hits = [_fits(path, self.paths) for path in paths]
        return bool(hits) and all(hits) if self.verdict is Verdict.ALLOW else any(hits)


class Policy(Record, frozen=True, kw_only=True):
    """Ordered rules; where none matches, a person is asked."""

    name: str
    rules: tuple[Rule, ...]

    def decide(self, facts: CallFacts, *, granted: Iterable[Grant] = ()) -> Ruling:
        """Returns the ruling for a call. A remembered approval turns asking into allowing, and nothing else."""
        for rule in self.rules:
            if rule.matches(facts):
                ruling = Ruling(verdict=rule.verdict, rule=f"{self.name}/{rule.name}", reason=rule.reason)
                break
        else:
            ruling = Ruling(verdict=Verdict.ASK, rule=f"{self.name}/otherwise", reason="No rule speaks of this call.")
        if ruling.verdict is Verdict.ASK and may_be_remembered(facts) and facts.grant in set(granted):
            reason = f"A person allowed {facts.tool} before and asked to have it remembered."
            return Ruling(verdict=Verdict.ALLOW, rule=f"{self.name}/remembered", reason=reason)
        return ruling


def may_be_remembered(facts: CallFacts) -> bool:
    """Tells whether an approval of such a call may cover later ones: never what executes, sends, or touches secrets."""
    return not facts.sensitive and not {Effect.EXEC, Effect.NETWORK} & set(facts.effects)


def strictest(rulings: Iterable[Ruling]) -> Ruling:
    """Returns the first of the strictest rulings: of a server's policy and a run's own, neither loosens the other."""
    order = (Verdict.DENY, Verdict.ASK, Verdict.ALLOW)
    return min(rulings, key=lambda ruling: order.index(ruling.verdict))


def facts_of(spec: ToolSpec, arguments: dict[str, Any], *, workspace: str = "", user_id: str = "") -> CallFacts:
    """Returns the facts of a call with checked arguments. Paths mean files only where the tool is the server's own."""
    named = [*paths_of(arguments), str(arguments.get("pattern") or "")]
    sensitive = not spec.client and any(map(is_sensitive, named))
    return CallFacts(
        tool=spec.name,
        effects=spec.effects,
        arguments=arguments,
        workspace=workspace,
        user_id=user_id,
        is_client_tool=spec.client,
        sensitive=sensitive,
    )


def paths_of(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the texts under the arguments that name files or folders."""
    found: list[str] = []
    for name in PATH_ARGUMENTS:
        value = arguments.get(name)
        found += [item for item in (value if isinstance(value, list | tuple) else [value]) if isinstance(item, str)]
    return tuple(found)


def approval_hash(tool: str, arguments: Mapping[str, Any], cwd: str, environment: str) -> str:
    """Returns the SHA-256, in hex, of exactly one call: tool, canonical arguments, folder, and what it acts in.

    What is executed must hash to what was approved. Raises ValueError for NaN in the arguments.
    """
    content = canonical_json(["jupyter_agent approval 1", tool, dict(arguments), cwd, environment])
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def _fits(text: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(text, glob) for glob in globs)


_READS = Rule(
    name="reads",
    verdict=Verdict.ALLOW,
    effects=(Effect.READ,),
    reason="It only reads, or asks a person.",
)
_SENSITIVE = Rule(
    name="sensitive",
    verdict=Verdict.ASK,
    sensitive=True,
    reason="It touches a hidden file, or one that may hold secrets.",
)

DEFAULT: Final = Policy(
    name="default",
    rules=(
        Rule(
            name="executes",
            verdict=Verdict.ASK,
            effects=(Effect.EXEC,),
            reason="It executes code with your full access.",
        ),
        Rule(name="sends", verdict=Verdict.ASK, effects=(Effect.NETWORK,), reason="It reaches out over the network."),
        Rule(name="writes", verdict=Verdict.ASK, effects=(Effect.WRITE,), reason="It changes files."),
        _SENSITIVE,
        _READS,
    ),
)
"""Reading inside the workspace goes by itself, except for hidden files and secrets; everything else asks.

Tools of the client count by the effects they declare: their functions are the person's own, and read if nothing is
declared.
"""

READ_ONLY: Final = Policy(
    name="read-only",
    rules=(
        Rule(
            name="changes",
            verdict=Verdict.DENY,
            effects=(Effect.WRITE, Effect.EXEC, Effect.NETWORK),
            reason="This run may only read.",
        ),
        _SENSITIVE,
        _READS,
    ),
)

TOOLS_OFF: Final = Policy(
    name="tools-off",
    rules=(Rule(name="all", verdict=Verdict.DENY, reason="Tools are switched off here."),),
)

FOR_PEOPLE: Final = Policy(
    name="for-people",
    rules=(
        Rule(name="decides", verdict=Verdict.ASK, tools=("gate",), reason="It is for a person to decide."),
        Rule(name="answers", verdict=Verdict.ALLOW, reason="It asks a person."),
    ),
)
"""For runs that no model carries out, whatever the server's policy says of models: nobody can choose it."""

POLICIES: Final[Mapping[str, Policy]] = MappingProxyType({p.name: p for p in (DEFAULT, READ_ONLY, TOOLS_OFF)})
