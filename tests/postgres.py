"""A PostgreSQL server of the tests' own, with databases that live as long as a test.

It sorts texts as people in the United States do: whoever relies on the order of code points says so in the schema.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from jupyter_agent.storage.migrations import migrate
from tests.live_server import free_port
from tests.requirements import require

MIGRATED = "migrated"
LIVES_S = 60.0


class Server:
    """PostgreSQL on a free port of this machine. Everybody on it may come in: it is there for the tests alone."""

    def __init__(self) -> None:
        self._programs = require("postgres").parent
        # The server refuses to run as root, and whoever runs it must reach its folder.
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._user = {"user": _other_than_root(), "group": None} if os.geteuid() == 0 else {}
        if self._user:
            found = pwd.getpwnam(self._user["user"])
            self._user["group"] = found.pw_gid
            self._user["extra_groups"] = []
            os.chown(self._folder, found.pw_uid, found.pw_gid)
        self._process: subprocess.Popen | None = None
        self._spare: list[str] = []
        self.port = free_port()

    def make(self) -> None:
        subprocess.run(
            [
                self._programs / "initdb", "--pgdata", self._folder / "data", "--username", "tests", "--auth", "trust",
                "--encoding", "UTF8", "--locale", "C.UTF-8", "--locale-provider", "icu", "--icu-locale", "en-US",
                "--no-sync",
            ],
            check=True, capture_output=True, cwd="/", **self._user,
        )  # fmt: skip
        self.start()
        self.run(f"CREATE DATABASE {MIGRATED}")
        migrate(self.url(MIGRATED))

    def start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": "", "fsync": "off",
            "max_connections": "100", "shared_buffers": "32MB", "autovacuum": "off", "log_min_messages": "panic",
        }  # fmt: skip
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(
            [self._programs / "postgres", "-D", self._folder / "data", *options],
            cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self._user,
        )  # fmt: skip
        until = time.monotonic() + LIVES_S
        while True:
            try:
                self.run("SELECT 1")
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, "the server ended at its start"
                assert time.monotonic() < until, "the server does not answer"
                time.sleep(0.05)

    def stop(self, *, at_once: bool = False) -> None:
        """Stops the server: in order, or at once as a crash does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
            self._process.wait(LIVES_S)
            self._process = None

    def remove(self) -> None:
        self.stop(at_once=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, name: str) -> str:
        return f"postgresql://tests@127.0.0.1:{self.port}/{name}"

    def run(self, statement: str, name: str = "postgres", *values: str) -> list[tuple]:
        """Runs a statement by itself and returns its rows, if any."""
        with psycopg.connect(self.url(name), autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def end_connections(self, name: str) -> int:
        """Cuts all connections to a database, as a failover does; returns how many there were."""
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        return len(self.run(cut, "postgres", name))

    @contextmanager
    def database(self):
        """Gives the URL of a migrated database with nothing in it. It is emptied for the next test: that is quicker
        than a new one."""
        name = self._spare.pop() if self._spare else self._create(MIGRATED)
        yield self.url(name)
        self.end_connections(name)
        found = self.run("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'", name)
        tables = ", ".join(row[0] for row in found if row[0] != "alembic_version")
        self.run(f"TRUNCATE {tables}", name)
        self._spare.append(name)

    @contextmanager
    def new_database(self, options: str = ""):
        """Gives the URL of a database without any schema, which is dropped in the end."""
        name = self._create("template0", options)
        try:
            yield self.url(name)
        finally:
            self.run(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def small_database(self, megabytes: int):
        """Gives the URL of a migrated database whose tables are alone on a small file system, and where that is. Skips
        where none can be mounted."""
        disk = Path(tempfile.mkdtemp(prefix="small-"))
        owner = self._folder.stat()
        options = f"size={megabytes}m,mode=755,uid={owner.st_uid},gid={owner.st_gid}"
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], capture_output=True, check=False
        )
        if mounted.returncode:
            disk.rmdir()
            pytest.skip(f"No small disk can be mounted here: {mounted.stderr.decode().strip()}")
        tables = disk / "tables"
        tables.mkdir(mode=0o700)
        os.chown(tables, owner.st_uid, owner.st_gid)
        space = f"small_{secrets.token_hex(6)}"
        try:
            self.run(f"CREATE TABLESPACE {space} LOCATION '{tables}'")
            name = self._create(MIGRATED, f"TABLESPACE {space}")
            yield self.url(name), disk
            self.run(f"DROP DATABASE {name} WITH (FORCE)")
            self.run(f"DROP TABLESPACE {space}")
        finally:
            subprocess.run(["umount", "-l", disk], check=False)
            disk.rmdir()

    def _create(self, template: str, options: str = "") -> str:
        name = f"t_{secrets.token_hex(6)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY {options}")
        return name


def _other_than_root() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
