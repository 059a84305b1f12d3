"""The script that starts a broker without Docker: what it says when it cannot, and what it leaves alone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .. import broker as brokers

_SCRIPT = Path(__file__).resolve().parents[2] / "compose" / "kafka.py"


def _run(act: str, port: int, data: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(_SCRIPT), act, "--port", str(port), "--data", str(data)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})


def _java_that_says(folder: Path, version: str) -> str:
    java = folder / "java"
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2018-10-16' >&2\n")
    java.chmod(0o755)
    return str(folder)


def test_without_java_it_says_what_to_install(tmp_path: Path) -> None:
    done = _run("up", brokers.kafka.free_port(), tmp_path, PATH=str(tmp_path), JAVA_HOME="")
    assert done.returncode == 1
    assert "apt-get install openjdk-17" in done.stderr


@pytest.mark.parametrize("version", ["1.8.0_292", "11.0.2"])
def test_an_old_java_is_refused(tmp_path: Path, version: str) -> None:
    done = _run("up", brokers.kafka.free_port(), tmp_path, PATH=_java_that_says(tmp_path, version), JAVA_HOME="")
    assert done.returncode == 1
    assert "Java 17 or newer" in done.stderr


def test_without_maven_and_without_jars_it_says_what_to_install(tmp_path: Path) -> None:
    path = _java_that_says(tmp_path, "17.0.1")
    done = _run("up", brokers.kafka.free_port(), tmp_path, PATH=path, JAVA_HOME="", SAGALINE_CACHE=str(tmp_path / "c"))
    assert done.returncode == 1
    assert "apt-get install maven" in done.stderr


def test_nothing_running_is_said_and_is_no_error_to_stop(tmp_path: Path) -> None:
    port = brokers.kafka.free_port()
    assert _run("status", port, tmp_path).returncode == 3
    assert "no broker ran" in _run("down", port, tmp_path).stdout


def test_a_pid_file_of_another_process_is_not_believed(tmp_path: Path) -> None:
    """Not when the number alone fits, as after a restart of the machine."""
    broker = brokers.kafka.Broker(brokers.kafka.free_port(), tmp_path)
    for other in (str(os.getpid()), f"{os.getpid()}\n", f"{os.getpid()}\n1"):
        (tmp_path / "pid").write_text(other)
        assert broker.pid is None
        assert broker.stop() is False


def test_whoever_listens_without_answering_is_no_broker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not brokers.kafka.answers(f"127.0.0.1:{server.getsockname()[1]}", timeout=0.1)


@pytest.mark.kafka
@pytest.mark.slow
def test_a_taken_port_and_a_failed_start_are_explained(breakable_broker: Any, tmp_path: Path) -> None:
    taken = _run("up", breakable_broker.port, tmp_path / "a")
    assert taken.returncode == 1
    assert f"port {breakable_broker.port} cannot be used" in taken.stderr
    logs = tmp_path / "b" / "logs"
    logs.mkdir(parents=True)
    (logs / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=another\n")
    failed = _run("up", brokers.kafka.free_port(), tmp_path / "b")
    assert failed.returncode == 1
    assert "ended while starting" in failed.stderr
    assert "node id" in failed.stderr
