"""Processes in the background, as compose/ starts them: they are found again, ended, and explained when they die."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .. import broker as brokers

local = brokers.load_script("local")

pytestmark = pytest.mark.slow

READY = "print('ready', flush=True)\n"
WAITS = "import signal; signal.pause()\n"


class Program(local.Part):  # type: ignore[name-defined,misc]
    """A small program of Python's; its ``ready`` is a line that it prints."""

    def __init__(self, data: Path, code: str, ports: tuple[int, ...] = ()) -> None:
        super().__init__("program", data, ports)
        self.code = code

    def launch(self) -> None:
        self.spawn([sys.executable, "-c", self.code])

    def ready(self) -> bool:
        return "ready" in self.said()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Any]:
    made = Program(tmp_path, READY + WAITS)
    yield made
    made.kill()


def test_a_running_part_is_found_by_another_that_knows_its_folder(program: Any, tmp_path: Path) -> None:
    program.start()
    pid = program.pid
    other = Program(tmp_path, "")
    other.start()
    assert other.pid == pid
    assert other.health() == "ready"
    assert other.stop()
    assert program.pid is None
    assert not program.stop()
    assert program.health() == "stopped"


def test_a_part_that_does_not_listen_to_sigterm_is_killed(program: Any) -> None:
    program.code = f"import signal; signal.signal({int(signal.SIGTERM)}, signal.SIG_IGN)\n" + READY + WAITS + WAITS
    program.start()
    pid = program.pid
    assert program.stop(wait=0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_part_that_dies_while_starting_is_explained_by_the_end_of_its_log(program: Any) -> None:
    program.code = "raise SystemExit('the disk is full')"
    with pytest.raises(local.PartError, match=r"(?s)program ended while starting \(exit 1\).*the disk is full"):
        program.start()


def test_what_an_earlier_start_wrote_does_not_count(program: Any) -> None:
    program.start()
    program.stop()
    program.code = WAITS
    with pytest.raises(local.PartError, match="was not ready within"):
        program.start(wait=0.1)
    assert program.health() == "not ready"


def test_a_taken_port_is_named_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(local.PartError, match=rf"port {port} cannot be used.*--port"):
            local.start_parts([Program(tmp_path / "a", READY), Program(tmp_path / "b", READY, (port,))])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "package"), [("initdb", "postgresql"), ("saga", "sagaline")])
def test_what_is_not_installed_is_named(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(local, "POSTGRESQL", tmp_path)
    monkeypatch.setattr(local.sys, "executable", str(tmp_path / "python"))
    with pytest.raises(local.PartError, match=rf"there is no.*install.*{package}"):
        local._saga() if name == "saga" else local._program(name)


def test_every_part_has_a_port_and_a_folder_of_its_own(tmp_path: Path) -> None:
    cluster = local.Cluster(20_000, tmp_path)
    everything = [*cluster.servers, *cluster.own]
    ports = [port for part in everything for port in part.ports]
    assert sorted(ports) == list(range(20_000, 20_008))
    assert len({part.data for part in everything}) == len(everything) == 10
    with pytest.raises(local.PartError, match="no part 'broker'; there are postgres, kafka-1"):
        cluster.part("broker")


def test_the_log_of_a_part_is_shown_since_its_last_start(program: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(local.PartError, match=r"program has written nothing; start it"):
        local.print_log(program, follow=False)
    program.start()
    program.stop()
    program.code = "print('ready again')\n"
    program.start(wait=0)
    program.gone(20)
    local.print_log(program, follow=False)
    assert capsys.readouterr().out == "ready again\n"


def test_purge_removes_what_the_cluster_wrote_and_nothing_else(tmp_path: Path) -> None:
    """Also not when --data names a folder in which no cluster has ever been."""
    cluster = local.Cluster(20_000, tmp_path / "data")
    mine = cluster.data / "api" / "mine"
    mine.mkdir(parents=True)
    cluster.purge()
    assert mine.exists()
    for name in ("cluster.id", "ledger.db", "ledger.db-wal", "notes.txt"):
        (cluster.data / name).touch()
    cluster.purge()
    assert [path.name for path in cluster.data.iterdir()] == ["notes.txt"]
    (cluster.data / "notes.txt").unlink()
    (cluster.data / "cluster.id").touch()
    cluster.purge()
    assert not cluster.data.exists()


def test_a_reader_who_has_read_enough_ends_it_without_a_traceback(tmp_path: Path) -> None:
    script = shlex.join([sys.executable, str(Path(local.__file__)), "status", "--data", str(tmp_path)])
    done = subprocess.run(["bash", "-c", f"{script} | :"], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


def test_a_folder_that_the_user_of_postgresql_cannot_enter_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root starts PostgreSQL as another user")
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o700)
    server = local.Postgres(1, shut / "postgres")
    server.data.mkdir()
    with pytest.raises(local.PartError, match=r"cannot enter .*choose another folder by --data"):
        server.prepare()
