"""A PostgreSQL server for a test, from the system's own packages; nothing is installed, and nobody else reaches it."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["PROGRAMS", "Postgres", "postgres_server"]

PROGRAMS = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
"""Where the server's programs are; None: there are none on this machine."""


class Postgres:
    """A server in a folder, spoken to by psql over a socket there."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        # The server refuses to be root.
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user is not None:
            entry = pwd.getpwnam(self._user)
            os.chown(folder, entry.pw_uid, entry.pw_gid)

    def start(self) -> None:
        data = str(self._folder / "data")
        self._run("initdb", "-D", data, "-U", "sagaline", "--no-sync", "-A", "trust")
        options = f"-c listen_addresses='' -c unix_socket_directories={self._folder} -c fsync=off"
        self._run("pg_ctl", "-D", data, "-l", f"{self._folder}/log", "-w", "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "stop")

    def sql(self, statements: str) -> str:
        """What these statements give, a row per line."""
        where = ("-h", str(self._folder), "-U", "sagaline", "-d", "postgres")
        return self._run("psql", *where, "-v", "ON_ERROR_STOP=1", "-qAtX", input=statements)

    def _run(self, program: str, *arguments: str, input: str = "") -> str:
        with tempfile.TemporaryFile("w+") as out:
            # Not a pipe: the server inherits it, and nobody would see its end.
            done = subprocess.run(
                [str(self._programs / program), *arguments],
                input=input,
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
                user=self._user,
                cwd=self._folder,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
                check=False,
            )
            out.seek(0)
            said = out.read()
        assert done.returncode == 0, f"{program}: {said}"
        return said


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """A fresh one beside the block."""
    assert PROGRAMS is not None
    with tempfile.TemporaryDirectory(prefix="sagaline-pg-", ignore_cleanup_errors=True) as folder:
        server = Postgres(PROGRAMS, Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()
