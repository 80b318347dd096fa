"""The models of a server, by name: the offline ones, and those of providers that the server's configuration knows.

Rules:

- A `base_url` comes from the server's configuration and from nowhere else, environment variables included.
- A key is read from the environment variable that its provider names, and goes to that provider's address only. A
  provider with a configured address sends no key unless its entry names the variable.
- Provider libraries are imported when the first of their models is asked for.
"""

import difflib
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

import msgspec

from ..exceptions import BadCredentials, InvalidRequest, UnknownModel
from ..records import TurnRecord
from .contract import Model, ModelInfo
from .demo import DemoModel
from .echo import EchoModel
from .person import PERSON, PersonModel
from .providers import Provider, ProviderModel
from .replay import ReplayModel
from .scripted import ScriptedModel

LoadTurns = Callable[[str], Awaitable[Sequence[TurnRecord]]]
"""Returns the turns of a recorded run, by run id or by the hash of its detail blob. Raises NotFound."""

PACE_VARIABLE = "JUPYTER_AGENT_DEMO_PACE"


_OPENAI_MODELS = ("gpt-6.1-sol", "gpt-6.1-terra", "gpt-6-luna")
_GOOGLE = Provider(
    base_url="https://generativelanguage.googleapis.com",
    kind="google",
    api_key_env="GOOGLE_API_KEY",
    models=("gemini-4-argon", "gemini-3.8-flash"),
)
PROVIDERS: Mapping[str, Provider] = {
    "anthropic": Provider(
        base_url="https://api.anthropic.com",
        kind="anthropic",
        api_key_env="ANTHROPIC_API_KEY",
        models=("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5"),
    ),
    "google": _GOOGLE,
    "google-gla": msgspec.structs.replace(_GOOGLE, models=()),
    "openai": Provider(
        base_url="https://api.openai.com/v1",
        kind="openai-responses",
        api_key_env="OPENAI_API_KEY",
        models=_OPENAI_MODELS,
    ),
    "openai-chat": Provider(base_url="https://api.openai.com/v1", api_key_env="OPENAI_API_KEY"),
}
"""Providers that need no configuration but a key. `models` are examples: every name that the provider knows works."""

OFFLINE: Mapping[str, str] = {
    "demo": "A rule-based stand-in: needs no key, uses the real tools, and says what it is",
    "scripted": "Plays the turns that a script gives as data",
    "replay": "Answers from a recorded run: replay:<run id>",
    "echo": "Repeats its input, for load tests",
}


@runtime_checkable
class Closable(Protocol):
    async def close(self) -> None: ...


class ModelCatalog:
    """Finds models by name. An instance is kept for each name, so that demo's cache and connections live on.

    `base_urls` are entries of `Provider` by provider name, as mappings; they add providers or move known ones. `replay`
    loads the turns of recorded runs. Raises InvalidRequest for an entry that is wrong and for an unknown default.
    """

    def __init__(
        self,
        default: str = "demo",
        *,
        base_urls: Mapping[str, Mapping[str, Any]] | None = None,
        replay: LoadTurns | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._providers = {**PROVIDERS, **{name: _provider(name, entry) for name, entry in (base_urls or {}).items()}}
        self._configured = frozenset(base_urls or {})
        self._load_turns = replay
        self._env = os.environ if env is None else env
        self._kept: dict[str, Model] = {}
        self._default = default
        self._check(default)

    @property
    def default(self) -> str:
        return self._default

    def get(self, name: str, *, script: Any = None) -> Model:
        """Returns the model. Raises UnknownModel naming the closest ones, BadCredentials where a key is missing.

        `script` is for the model `scripted`; InvalidRequest names the turn and field that is wrong.
        """
        kind, _, rest = name.partition(":")
        self._check(name)
        match kind:
            case "scripted":
                return ScriptedModel(_given(script))
            case "replay":
                return self._replay(rest)
            case "person":
                return PersonModel()
        if name not in self._kept:
            self._kept[name] = self._make(name, kind, rest)
        return self._kept[name]

    def list(self) -> list[ModelInfo]:
        """Returns the offline models, then those that configured and known providers are known to have."""
        lines = [
            ModelInfo(
                name=name, provider="offline", description=text, offline=True, ready=True, advice=_ADVICE.get(name)
            )
            for name, text in OFFLINE.items()
        ]
        for name in sorted(self._providers, key=lambda name: (name not in self._configured, name)):
            lines.extend(self._lines(name, self._providers[name]))
        return lines

    async def close(self) -> None:
        """Closes the connections of all models. Those in use end with a model error."""
        kept, self._kept = self._kept, {}
        for model in kept.values():
            if isinstance(model, Closable):
                await model.close()

    def _lines(self, name: str, provider: Provider) -> Iterator[ModelInfo]:
        missing = self._missing_key(provider)
        host = urlsplit(provider.base_url).hostname or provider.base_url
        for model in provider.models:
            yield ModelInfo(
                name=f"{name}:{model}",
                provider=name,
                description=f"{model} at {host}",
                offline=False,
                ready=missing is None,
                advice=None if missing is None else _key_advice(missing),
            )

    def _missing_key(self, provider: Provider) -> str | None:
        """Returns the name of the variable that should hold a key and does not."""
        variable = provider.api_key_env
        return variable if variable is not None and not self._env.get(variable, "").strip() else None

    def _check(self, name: str) -> None:
        """Raises UnknownModel for a name that no model can have."""
        kind, colon, rest = name.partition(":")
        if kind in ("demo", "scripted", PERSON):
            known = not colon
        elif kind == "echo":
            known = not colon or (rest.isascii() and rest.isdigit() and 0 < len(rest) <= 6 and int(rest) > 0)
        elif kind == "replay":
            known = not colon or bool(rest)
        else:
            provider = self._providers.get(kind)
            known = provider is not None and bool(rest) and (not provider.models_only or rest in provider.models)
        if not known:
            raise UnknownModel(
                f"There is no model {name[:200]!r}. {self._advice(name)}", details={"closest": self._closest(name)}
            )

    def _closest(self, name: str) -> Sequence[str]:
        names = [*OFFLINE, *(f"{kind}:{model}" for kind, entry in self._providers.items() for model in entry.models)]
        kind, _, rest = name[:200].lower().partition(":")
        ends = {full.rpartition(":")[2]: full for full in names}
        found: list[str] = []
        if rest and kind not in self._providers:
            found += [f"{near}:{rest}" for near in difflib.get_close_matches(kind, self._providers, n=1, cutoff=0.7)]
        found += difflib.get_close_matches(name[:200].lower(), names, n=3, cutoff=0.6)
        found += [ends[end] for end in difflib.get_close_matches(rest or kind, ends, n=2, cutoff=0.75)]
        return list(dict.fromkeys(found))[:3]

    def _advice(self, name: str) -> str:
        if closest := self._closest(name):
            return f"Did you mean {' or '.join(closest)}?"
        return (
            f"Offline models are {', '.join(OFFLINE)}; others are named provider:model, where the provider is one of "
            f"{', '.join(self._providers)} or one that the server's configuration adds."
        )

    def _make(self, name: str, kind: str, rest: str) -> Model:
        if kind == "demo":
            return DemoModel(pace=_pace(self._env.get(PACE_VARIABLE)))
        if kind == "echo":
            return EchoModel(int(rest) if rest else 0)
        provider = self._providers[kind]
        if (variable := self._missing_key(provider)) is not None:
            raise BadCredentials(
                f"The model {name} needs a key. {_key_advice(variable)}, or use the model demo, which needs none.",
                details={"variable": variable},
            )
        key = self._env[provider.api_key_env].strip() if provider.api_key_env else None
        return ProviderModel(name, provider, key=key, official=kind not in self._configured)

    def _replay(self, run: str) -> Model:
        if not run:
            raise UnknownModel("The model replay needs a recorded run: replay:<run id or hash of its detail blob>.")
        if self._load_turns is None:
            raise UnknownModel(f"The model replay:{run[:200]} cannot be used: this server keeps no recorded runs.")
        return ReplayModel(run, load=self._load_turns)


_ADVICE = {
    "scripted": "Give a script along with it: docs/scripted-model.md shows one.",
    "replay": "Name the run: replay:<run id>.",
}


def _given(script: Any) -> Any:
    if script is None:
        raise InvalidRequest(
            "The model scripted needs a script: give a list of turns as `script`. docs/scripted-model.md shows one.",
            details={"fields": {"script": "is missing"}},
        )
    return script


def _key_advice(variable: str) -> str:
    return f"Set the environment variable {variable} for the Jupyter server and start it again"


def _pace(text: str | None) -> float:
    """Returns the demo model's pace: 1 where the variable is not set. Raises InvalidRequest for what is no number."""
    if not text:
        return 1.0
    try:
        pace = float(text)
    except ValueError:
        pace = -1.0
    if not 0 <= pace <= 100:
        raise InvalidRequest(
            f"{PACE_VARIABLE} is {text[:50]!r}: it must be a number from 0 (at once) to 100 (very slow)."
        )
    return pace


def _provider(name: str, entry: Mapping[str, Any]) -> Provider:
    """Returns the checked entry. Raises InvalidRequest naming the provider and what is wrong with it."""
    if not name or ":" in name or name in OFFLINE or name == PERSON:
        raise InvalidRequest(
            f"A provider cannot be called {name!r}: take a name without a colon that is no offline model."
        )
    known = PROVIDERS.get(name)
    try:
        provider = msgspec.convert(dict(entry) if known is None else {"kind": known.kind, **entry}, Provider)
    except msgspec.ValidationError as fault:
        raise InvalidRequest(f"The configured provider {name!r} is wrong: {fault}.") from None
    address = urlsplit(provider.base_url)
    if address.scheme not in ("http", "https") or not address.hostname or address.username or address.password:
        raise InvalidRequest(
            f"The base_url of the configured provider {name!r} must be an http or https address without user name or "
            "password: the key belongs into an environment variable that `api_key_env` names."
        )
    return provider
