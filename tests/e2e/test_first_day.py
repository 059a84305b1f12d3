"""The first day: what docs/sagas.md and docs/workers.md show, written into an empty folder and run in order."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import pytest

from .test_readme import PATIENCE_SECONDS, ROOT, background, environment, free_port, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PAGES = [(ROOT / "docs" / name).read_text() for name in ("sagas.md", "workers.md")]


def write_files(folder: Path) -> set[str]:
    """The files of the two pages: a block of code begins with the name of the file that it belongs to."""
    parts: dict[str, list[str]] = defaultdict(list)
    for page in PAGES:
        for name, body in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page, re.S):
            parts[name].append(body)
    for name, bodies in parts.items():
        (folder / name).write_text("\n\n".join(bodies))
    return set(parts)


def commands(holding: str) -> list[list[str]]:
    """The commands of the block that holds some text."""
    blocks = [body for page in PAGES for body in re.findall(r"```console\n(.*?)```", page, re.S)]
    found = next(body for body in blocks if holding in body)
    return [shlex.split(line.removeprefix("$ ")) for line in found.splitlines()]


def test_the_first_day_goes_as_the_pages_say(tmp_path: Path) -> None:
    assert write_files(tmp_path) == {"contracts.py", "shop.py", "test_shop.py", "workers.py"}
    port = str(free_port())
    env = environment(SAGALINE_PORT=port, SAGALINE_URL=f"http://127.0.0.1:{port}")
    for command in commands("pytest"):
        run(command, tmp_path, env)
    start, questions, answer, publish, show, history = (
        [part.replace("8080", port) for part in command] for command in commands("curl")
    )
    with ExitStack() as processes:
        for command in commands("saga api shop:order"):
            processes.enter_context(background(command, tmp_path, env))
        assert json.loads(run(start, tmp_path, env))["id"] == "order/A-2"
        assert "Sell boat for 9000.00?" in until(questions, "boat", tmp_path, env)
        run(answer, tmp_path, env)
        run(publish, tmp_path, env)
        assert "T-A-2" in until([*show, "--json"], '"completed"', tmp_path, env)
        assert "completed" in run(show, tmp_path, env)
        assert "ship" in run(history, tmp_path, env)


def until(command: list[str], holding: str, folder: Path, env: dict[str, str]) -> str:
    """What the command says as soon as it holds some text."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while holding not in (said := run(command, folder, env)):
        assert time.monotonic() < deadline, said
        time.sleep(0.1)
    return said
