"""A PostgreSQL server for tests, from the system's own packages: on a free loopback port, in a folder of its own."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from .broker import kafka

__all__ = ["PASSWORD", "PROGRAMS", "Postgres", "postgres_server"]

PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None)
"""Where the newest server's programs are; None: there are none on this machine."""
PASSWORD = "s3cret-word"
_START_SECONDS = 60.0
_ACCESS = """
host all locked 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""


class Postgres:
    """A server in a folder. Everybody is let in without a password, but the user ``locked``, whose is ``PASSWORD``."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder, self._data = programs, folder, folder / "data"
        # The server refuses to be root.
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user is not None:
            entry = pwd.getpwnam(self._user)
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        self.port: int = kafka.free_port(1)
        self._server: subprocess.Popen[bytes] | None = None
        self._made = 0

    def create(self) -> None:
        """Makes its files and starts it."""
        encoding = ("-E", "UTF8", "--locale=C")
        made = self._program("initdb", "-D", str(self._data), "-U", "sagaline", *encoding, "--no-sync", "-A", "trust")
        assert made.wait(_START_SECONDS) == 0, (self._folder / "log").read_text()
        (self._data / "pg_hba.conf").write_text(_ACCESS)
        self.start()
        self.sql(f"CREATE ROLE locked LOGIN PASSWORD '{PASSWORD}'")

    def start(self) -> None:
        """Returns when it answers. Idempotent."""
        if self._server is None:
            options = [f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"]
            options.append("default_statistics_target=1000")  # whole tables, no sample: the same plan every time
            named = [part for option in options for part in ("-c", option)]
            # A child of ours, not of pg_ctl: one that nobody waits for would still seem to run after a kill.
            self._server = self._program("postgres", "-D", str(self._data), *named)
        until = time.monotonic() + _START_SECONDS
        while True:
            try:
                return self.sql("SELECT")
            except psycopg.OperationalError:
                assert self._server.poll() is None, (self._folder / "log").read_text()
                assert time.monotonic() < until, (self._folder / "log").read_text()
                time.sleep(0.02)

    def stop(self) -> None:
        """At once; idempotent."""
        self._end(signal.SIGQUIT)

    def kill(self) -> None:
        """SIGKILL for the postmaster, as when the machine runs out of memory."""
        self._end(signal.SIGKILL)

    def schema(self) -> str:
        """The address of a fresh schema: cheaper than a database, and as empty."""
        self._made += 1
        self.sql(f"CREATE SCHEMA s{self._made}")
        return f"{self.url()}?options=-csearch_path%3Ds{self._made}"

    def url(self, database: str = "postgres", user: str = "sagaline") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def sql(self, *statements: str) -> Any:
        """What the last of these statements gives, as rows."""
        with psycopg.connect(self.url(), autocommit=True, connect_timeout=5) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _end(self, with_signal: signal.Signals) -> None:
        if self._server is None:
            return
        children = Path(f"/proc/{self._server.pid}/task/{self._server.pid}/children").read_text().split()
        self._server.send_signal(with_signal)
        self._server.wait(_START_SECONDS)
        self._server = None
        while any(_runs(child) for child in children):  # they hold the memory that the next one needs
            time.sleep(0.01)

    def _program(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [self._programs / name, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
                cwd=self._folder,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            )


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """A fresh one beside the block."""
    assert PROGRAMS is not None
    with tempfile.TemporaryDirectory(prefix="sagaline-pg-", ignore_cleanup_errors=True) as folder:
        server = Postgres(PROGRAMS, Path(folder))
        try:
            server.create()
            yield server
        finally:
            server.stop()
