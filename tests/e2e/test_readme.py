"""What the README shows first runs as it stands: its code saved as ``shop.py``, then its commands in their order."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..broker import kafka

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent
PATIENCE_SECONDS = 60

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def block(language: str, holding: str) -> str:
    """The README's first block of a language that holds some text."""
    return next(found for found in re.findall(rf"```{language}\n(.*?)```", README, re.S) if holding in found)


def commands(holding: str) -> list[list[str]]:
    return [shlex.split(line.removeprefix("$ ")) for line in block("console", holding).splitlines()]


def free_port() -> int:
    return int(kafka.free_port())


def environment(**more: str) -> dict[str, str]:
    return dict(os.environ) | {"PATH": f"{BIN}:{os.environ['PATH']}", "COLUMNS": "120"} | more


@contextmanager
def background(command: list[str], folder: Path, env: dict[str, str]) -> Iterator[Path]:
    """A command that runs until the block ends, and the file that takes what it says."""
    said = folder / f"said-{command[1]}"
    with said.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "Ctrl-C stops it" not in said.read_text():
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.05)
        yield said
    finally:
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0, said.read_text()


def run(command: list[str], folder: Path, env: dict[str, str], seconds: int = PATIENCE_SECONDS) -> str:
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


def test_the_first_screen_runs_as_it_is_shown(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(block("python", "Saga("))
    port = str(free_port())
    env = environment(SAGALINE_PORT=port, SAGALINE_URL=f"http://127.0.0.1:{port}")
    serve, start, show, history = commands("saga run")
    with background(serve, tmp_path, env):
        run(start, tmp_path, env)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "completed" not in (shown := run(show, tmp_path, env)):
            assert time.monotonic() < deadline, shown
        assert "checkout/A-1001" in shown
        assert "charge" in run(history, tmp_path, env)
    assert (tmp_path / "sagaline.db").exists()


@pytest.mark.kafka
def test_the_demo_runs_on_the_broker_that_the_readme_starts(kafka_bootstrap: str, tmp_path: Path) -> None:
    up, demo, down = commands("kafka.py up")
    assert kafka_bootstrap, "the machine can run a broker"
    port = str(free_port())
    where = ["--port", port, "--data", str(tmp_path / "broker")]
    env = environment(SAGALINE_PORT=str(free_port()))
    here = [sys.executable, str(ROOT / up[1])]
    run([*here, up[2], *where], tmp_path, env)
    try:
        shown = run([part.replace("9092", port) for part in demo], tmp_path, env, 120)
    finally:
        run([*here, down[2], *where], tmp_path, env)
    assert "compensated" in shown
    assert "completed" in shown
