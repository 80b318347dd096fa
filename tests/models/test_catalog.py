"""The catalog: names, advice, keys and addresses."""

import msgspec
import pytest

from jupyter_agent.exceptions import BadCredentials, InvalidRequest, UnknownModel
from jupyter_agent.models import ModelCatalog

CANARY = "sk-canary-0123456789"


def test_the_list_names_offline_models_first_and_never_a_key():
    catalog = ModelCatalog(
        base_urls={
            "deepseek": {"base_url": "https://api.deepseek.com", "api_key_env": "DS", "models": ["deepseek-chat"]}
        },
        env={"DS": CANARY, "OPENAI_API_KEY": CANARY},
    )
    lines = catalog.list()
    assert [line.name for line in lines[:4]] == ["demo", "scripted", "replay", "echo"]
    assert lines[4].name == "deepseek:deepseek-chat"
    by_name = {line.name: line for line in lines}
    assert by_name["deepseek:deepseek-chat"].ready
    missing = next(line for line in lines if line.provider == "anthropic")
    assert not missing.ready
    assert "ANTHROPIC_API_KEY" in (missing.advice or "")
    assert CANARY not in msgspec.json.encode(lines).decode()
    assert all(line.offline == (":" not in line.name) for line in lines)


@pytest.mark.parametrize(
    ("name", "closest"),
    [
        ("dmeo", "demo"),
        ("Demo", "demo"),
        ("echoo", "echo"),
        ("claude-opus-5-5", "anthropic:claude-opus-5-5"),
        ("antropic:claude-x", "anthropic:claude-x"),
        ("openai:", "openai:"),
        ("echo:0", "echo"),
        ("echo:many", "echo"),
        ("scripted:1", "scripted"),
    ],
)
def test_an_unknown_name_is_told_the_closest(name, closest):
    with pytest.raises(UnknownModel) as caught:
        ModelCatalog(env={}).get(name)
    assert closest in caught.value.message
    assert name in caught.value.message


def test_a_name_like_nothing_is_told_what_there_is():
    with pytest.raises(UnknownModel, match="provider:model") as caught:
        ModelCatalog(env={}).get("zzzzzz" * 1000)
    assert len(caught.value.message) < 800


def test_a_missing_key_names_its_variable():
    with pytest.raises(BadCredentials, match="ANTHROPIC_API_KEY") as caught:
        ModelCatalog(env={"ANTHROPIC_API_KEY": "  "}).get("anthropic:claude-opus-5-5")
    assert caught.value.details["variable"] == "ANTHROPIC_API_KEY"


def test_a_name_gives_the_same_model_each_time_but_each_script_its_own():
    catalog = ModelCatalog(env={"OPENAI_API_KEY": CANARY})
    assert catalog.get("demo") is catalog.get("demo")
    assert catalog.get("openai:gpt-6-luna") is catalog.get("openai:gpt-6-luna")
    assert catalog.get("scripted", script=["a"]) is not catalog.get("scripted", script=["b"])
    assert catalog.get("echo:64").name == "echo:64"


def test_the_default_must_exist():
    assert ModelCatalog().default == "demo"
    with pytest.raises(UnknownModel):
        ModelCatalog("dmeo")


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"base_url": "ftp://host/v1"}, "http"),
        ({"base_url": "https://user:secret@host/v1"}, "api_key_env"),
        ({"base_url": "nonsense"}, "http"),
        ({}, "base_url"),
        ({"base_url": "https://h/v1", "key": "x"}, "key"),
        ({"base_url": "https://h/v1", "kind": "telepathy"}, "telepathy"),
    ],
)
def test_a_wrong_entry_is_refused_and_says_what_is_wrong(entry, says):
    with pytest.raises(InvalidRequest) as caught:
        ModelCatalog(base_urls={"mine": entry})
    assert "mine" in caught.value.message
    assert says in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("name", ["demo", "a:b", ""])
def test_a_provider_cannot_take_an_offline_models_name(name):
    with pytest.raises(InvalidRequest):
        ModelCatalog(base_urls={name: {"base_url": "https://h/v1"}})


def test_only_listed_models_where_the_operator_says_so():
    entry = {"base_url": "http://127.0.0.1:1/v1", "models": ["small"], "models_only": True}
    catalog = ModelCatalog(base_urls={"mine": entry})
    assert catalog.get("mine:small").name == "mine:small"
    with pytest.raises(UnknownModel, match="mine:small"):
        catalog.get("mine:smal")


@pytest.mark.parametrize("pace", ["fast", "-1", "1e9", "nan"])
def test_a_wrong_pace_says_so(pace):
    with pytest.raises(InvalidRequest, match="JUPYTER_AGENT_DEMO_PACE"):
        ModelCatalog(env={"JUPYTER_AGENT_DEMO_PACE": pace}).get("demo")


def test_replay_needs_a_run_and_a_server_that_keeps_runs():
    with pytest.raises(UnknownModel, match="run id"):
        ModelCatalog().get("replay")
    with pytest.raises(UnknownModel, match="keeps no recorded runs"):
        ModelCatalog().get("replay:run_1")


def test_scripted_without_a_script_says_where_to_find_one():
    with pytest.raises(InvalidRequest, match="scripted-model"):
        ModelCatalog().get("scripted")


KEYS = {"ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "b", "GOOGLE_API_KEY": "c"}


@pytest.mark.parametrize(
    ("name", "settings", "life_s"),
    [
        ("demo", {}, 300.0),
        ("demo", {"cache_life_s": 2}, 2.0),
        ("demo", {"cache_life_s": -1}, 300.0),
        ("demo", {"cache_life_s": True}, 300.0),
        ("echo", {}, None),
        ("anthropic:claude-opus-5-5", {}, 300.0),
        ("anthropic:claude-opus-5-5", {"cache": False}, None),
        ("openai:gpt-6-luna", {"cache_life_s": 2}, 86_400.0),
        ("openai-chat:gpt-6-luna", {}, 86_400.0),
        ("google:gemini-3.8-flash", {}, None),
    ],
)
def test_how_long_a_provider_keeps_a_prompt_is_what_it_documents(name, settings, life_s):
    assert ModelCatalog(env=KEYS).get(name).cache_life_s(settings) == life_s


def test_of_an_address_that_was_configured_nothing_is_known():
    entry = {"base_url": "https://proxy.example/anthropic", "kind": "anthropic", "api_key_env": "ANTHROPIC_API_KEY"}
    model = ModelCatalog(env=KEYS, base_urls={"anthropic": entry}).get("anthropic:claude-opus-5-5")
    assert model.cache_life_s({}) is None
    assert model.tools_first
