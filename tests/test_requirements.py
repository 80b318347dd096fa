"""What is missing skips a test, and fails it where it is required."""

import pytest

from tests import requirements
from tests.requirements import require


@pytest.fixture
def nothing_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(requirements, "POSTGRES_FOLDERS", f"{tmp_path}/*/bin")
    monkeypatch.delenv("JUPYTER_AGENT_REQUIRE", raising=False)
    return tmp_path


@pytest.mark.parametrize("name", ["postgres", "redis", "chromium", "aimock"])
def test_what_is_missing_skips_with_its_reason(nothing_installed, name):
    with pytest.raises(pytest.skip.Exception, match=f"{name} is not installed"):
        require(name)


@pytest.mark.parametrize("name", ["postgres", "redis", "chromium", "aimock"])
def test_what_is_missing_fails_where_it_is_required(nothing_installed, monkeypatch, name):
    monkeypatch.setenv("JUPYTER_AGENT_REQUIRE", "postgres,redis,chromium,aimock")
    with pytest.raises(pytest.fail.Exception, match="JUPYTER_AGENT_REQUIRE"):
        require(name)


def test_programs_are_found_on_the_path_and_where_debian_keeps_them(nothing_installed):
    for place in ("redis-server", "google-chrome", "15/bin/initdb", "17/bin/initdb"):
        program = nothing_installed / place
        program.parent.mkdir(parents=True, exist_ok=True)
        program.touch(mode=0o755)
    assert require("redis") == nothing_installed / "redis-server"
    assert require("chromium") == nothing_installed / "google-chrome"
    assert require("postgres") == nothing_installed / "17" / "bin" / "initdb"
