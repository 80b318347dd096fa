"""`jupyter agent check`, `rebuild` and `prune` on a PostgreSQL database, beside a server and without one."""

import asyncio

import pytest
import sqlalchemy as sa

from jupyter_agent.cli import main
from jupyter_agent.storage import DATABASE_URL, open_storage
from tests.live_server import LiveServer, free_port

PASSWORD = "canary-of-the-tests"
QUICK = {"turns": [{"text": "one two three"}]}


@pytest.fixture
def url(database_url):
    return sa.make_url(database_url).set(password=PASSWORD).render_as_string(hide_password=False)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home without any configuration, and with nothing in the environment."""
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv(DATABASE_URL, raising=False)
    return tmp_path


@pytest.fixture
def call(home, capsys):
    """Calls a command and returns its exit code and all that it said; never a password."""

    async def called(*arguments: str) -> tuple[int, str]:
        code = await asyncio.to_thread(main, arguments)
        said = "".join(capsys.readouterr())
        assert PASSWORD not in said
        assert "Traceback" not in said
        return code, said

    return called


def configure(home, **settings):
    (home / "config").mkdir(exist_ok=True)
    lines = [f"c.AgentGateway.{name} = {value!r}\n" for name, value in settings.items()]
    (home / "config" / "jupyter_server_config.py").write_text("c = get_config()\n" + "".join(lines))


async def test_the_commands_work_on_the_database_beside_a_server_and_without(
    home, call, url, database_url, postgres, monkeypatch
):
    monkeypatch.setenv(DATABASE_URL, url)
    where = f"postgresql://127.0.0.1:{postgres.port}/"
    async with LiveServer(home, environment={DATABASE_URL: url}) as server:
        run_ids = [await server.start_run(QUICK) for _ in range(2)]
        for run_id in run_ids:
            await server.request("GET", f"jupyter-agent/api/runs/{run_id}?wait=30")
        code, said = await call("check")
        assert (code, where in said, "2 runs" in said) == (0, True, True), said
        for command in (["rebuild"], ["check", "--repair"]):
            code, said = await call(*command)
            assert (code, "Stop all servers that use it" in said) == (2, True), said
        code, said = await call("prune", "--older-than", "0s", "--dry-run")
        assert (code, "2 threads with 2 runs" in said, "would go" in said) == (0, True, True), said
        status, page = await server.request("GET", "jupyter-agent/api/runs")
        assert (status, len(page["items"])) == (200, 2)

    name = sa.make_url(database_url).database
    rows = "SELECT run_id, status, total_tokens, last_ai_message FROM runs ORDER BY run_id"
    before = postgres.run(rows, name)
    postgres.run("UPDATE runs SET last_ai_message = 'another'", name)
    code, said = await call("check")
    assert (code, "Stop all servers that use it and run it with --repair" in said) == (1, True), said
    postgres.run("TRUNCATE runs, turns, turn_segments, tool_traces, blob_refs CASCADE", name)
    code, said = await call("rebuild", "--anew")
    assert (code, "Without --anew" in said) == (2, True), said
    code, said = await call("rebuild")
    assert (code, "2 had no row" in said) == (0, True), said
    assert postgres.run(rows, name) == before
    code, said = await call("check", "--repair")
    assert (code, "Everything is whole" in said) == (0, True), said
    code, said = await call("prune", "--larger-than", "1GB")
    assert (code, "Choose by age instead: --older-than" in said) == (2, True), said
    code, said = await call("prune", "--older-than", "0s")
    assert (code, "2 threads with 2 runs" in said, "are gone" in said) == (0, True, True), said
    assert postgres.run("SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM run_events)", name) == [(0, 0)]


async def test_the_database_of_jupyters_configuration_is_meant_unless_a_folder_is_named(home, call, url):
    configure(home, database_url=url)
    code, said = await call("check")
    assert (code, "postgresql://" in said, "0 runs" in said) == (0, True, True), said
    code, said = await call("check", "--data-folder", str(home / "old"))
    assert (code, f"There is no data of jupyter_agent in {home / 'old'}" in said) == (2, True), said
    configure(home, data_folder=str(home / "kept"))
    (home / "kept" / "blobs").mkdir(parents=True)
    code, said = await call("check")
    assert (code, f"{home / 'kept'}: 0 runs" in said) == (0, True), said
    (home / "config" / "jupyter_server_config.py").write_text(f"{PASSWORD = }; nonsense\n")
    code, said = await call("prune", "--older-than", "1d")
    assert (code, "configuration jupyter_server_config cannot be read (NameError)" in said) == (2, True), said


async def test_a_database_that_is_away_or_not_ours_is_told_and_left_alone(home, call, url, postgres, monkeypatch):
    away = sa.make_url(url).set(port=free_port()).render_as_string(hide_password=False)
    monkeypatch.setenv(DATABASE_URL, away)
    for command in (["check"], ["rebuild"], ["prune", "--older-than", "1d"]):
        code, said = await call(*command)
        assert (code, "cannot be reached" in said, "See that it runs" in said) == (2, True, True), said
    with postgres.new_database() as empty:
        monkeypatch.setenv(DATABASE_URL, empty)
        code, said = await call("check")
        assert (code, "There is no data of jupyter_agent in postgresql://" in said) == (2, True), said
        assert postgres.run(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", sa.make_url(empty).database
        ) == [(0,)]
    monkeypatch.setenv(DATABASE_URL, f"mysql://u:{PASSWORD}@host/d")
    code, said = await call("check")
    assert (code, "none of a PostgreSQL database" in said) == (2, True), said


async def test_servers_are_kept_out_while_a_repair_is_alone(home, url, postgres, database_url):
    """Also by a session that had to be made again."""
    repair, server = (open_storage(home / name, url) for name in ("repair", "server"))
    name = sa.make_url(database_url).database
    try:
        await asyncio.to_thread(repair.enter, alone=True)
        with pytest.raises(Exception, match="kept from servers while"):
            await asyncio.to_thread(server.enter)
        await asyncio.to_thread(repair.leave)
        await asyncio.to_thread(server.enter)
        with pytest.raises(Exception, match="Stop all servers"):
            await asyncio.to_thread(repair.enter, alone=True)
        postgres.end_connections(name)
        writer = await asyncio.to_thread(server.lines.open, "r")
        with pytest.raises(Exception, match="Stop all servers"):
            await asyncio.to_thread(repair.enter, alone=True)
        writer.close()
    finally:
        await repair.close()
        await server.close()
