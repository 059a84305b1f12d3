"""What the documents show runs: every ``python``, ``console`` and ``bash`` block of README.md and docs/.

- A python block is a program of its own, run from an empty folder, in a fork of one process per page: imported once.
- A console block is run line by line (``$ command``, in the root of the checkout), a bash block as one script; the
  commands must end with 0. What they print is not compared.
- A block that cannot run here names its stand-in on the line above its fence: ``<!-- run by tests/... -->`` with a test
  that exists, or ``<!-- not run: reason -->``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.repo.tree import ROOT, files

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<body>.*?)^(?P=indent)```[ \t]*$", re.M | re.S)
EXCUSE = re.compile(r"<!-- (?:run by (?P<test>[\w./-]+)|not run: (?P<reason>.{10,}?)) -->\s*\Z")
RUNNABLE = ("python", "console", "bash")
TIMEOUT_S = 90


class Block(NamedTuple):
    where: str
    language: str
    body: str
    excuse: re.Match[str] | None


def blocks_of(text: str, name: str) -> list[Block]:
    """The blocks of one document that somebody could run."""
    return [
        Block(
            f"{name}:{text[: found.start()].count(chr(10)) + 1}",
            found["language"],
            re.sub(rf"^{found['indent']}", "", found["body"], flags=re.M),
            EXCUSE.search(text[: found.start()]),
        )
        for found in FENCE.finditer(text)
        if found["language"] in RUNNABLE
    ]


def documents() -> list[Path]:
    return [
        path
        for path in files()
        if path.suffix == ".md" and (path == ROOT / "README.md" or path.is_relative_to(ROOT / "docs"))
    ]


BLOCKS = [block for path in documents() for block in blocks_of(path.read_text(), str(path.relative_to(ROOT)))]


def script(block: Block) -> str:
    """The commands of a console or bash block."""
    if block.language == "bash":
        return block.body
    commands: list[str] = []
    for line in block.body.splitlines():
        if line.startswith("$ "):
            commands.append(line[2:])
        elif line.startswith("> ") and commands:
            commands[-1] += f"\n{line[2:]}"
    return "\n".join(commands)


FORKS = """
import os, runpy, sys
import sagaline.orchestrator, sagaline.testing, sagaline.workers
for folder in sys.argv[1:]:
    if os.fork() == 0:
        os.chdir(folder)
        runpy.run_path("block.py", run_name="__main__")
        sys.exit()
    code = os.waitstatus_to_exitcode(os.wait()[1])
    sys.exit(f"the block in {folder} ended with {code}") if code else None
"""


def run(command: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


def run_programs(blocks: Sequence[Block], empty: Path) -> subprocess.CompletedProcess[str]:
    """Up to the first that fails; the exit code is 1 then, and what it said ends with where it stands."""
    folders = [empty / block.where.replace("/", "-") for block in blocks]
    for block, folder in zip(blocks, folders, strict=True):
        folder.mkdir()
        (folder / "block.py").write_text(block.body)
    return run([sys.executable, "-W", "error", "-c", FORKS, *map(str, folders)], empty)


def run_commands(block: Block) -> subprocess.CompletedProcess[str]:
    assert script(block).strip(), f"{block.where}: no line begins with '$ '"
    return run(["bash", "-euo", "pipefail", "-c", script(block)], ROOT)


PROGRAMS: dict[str, list[Block]] = {}
for each in BLOCKS:
    if each.language == "python" and each.excuse is None:
        PROGRAMS.setdefault(each.where.partition(":")[0], []).append(each)


@pytest.mark.slow
@pytest.mark.parametrize("page", PROGRAMS)
@pytest.mark.long
def test_the_programs_of_a_page_run(page: str, tmp_path: Path) -> None:
    done = run_programs(PROGRAMS[page], tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.language != "python" and b.excuse is None], ids=lambda block: block.where
)
def test_the_commands_of_a_block_run(block: Block) -> None:
    done = run_commands(block)
    assert done.returncode == 0, f"{block.where}\n{block.body}\n{done.stdout}\n{done.stderr}"


def test_an_excused_block_names_a_test_that_exists() -> None:
    tests = [(b.where, b.excuse["test"]) for b in BLOCKS if b.excuse and b.excuse["test"]]
    assert [(where, test) for where, test in tests if not (ROOT / test.partition("::")[0]).is_file()] == []


def test_every_link_to_a_file_leads_somewhere() -> None:
    dead = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in documents()
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text())
        if "://" not in target and not (path.parent / target).exists()
    ]
    assert dead == []


DOCUMENT = """\
```python
raise SystemExit(3)
```
<!-- run by tests/e2e/test_demo.py -->
```console
$ make demo
20 orders
```
1. Then:

   ```console
   $ false
   not a command
   $ true
   ```
"""


@pytest.mark.slow
def test_the_runner_finds_blocks_and_reports_what_fails(tmp_path: Path) -> None:
    program, demo, listed = blocks_of(DOCUMENT, "page.md")
    assert (program.where, demo.where, listed.where) == ("page.md:1", "page.md:5", "page.md:11")
    assert demo.excuse is not None
    assert demo.excuse["test"] == "tests/e2e/test_demo.py"
    first = program._replace(where="page.md:0", body="print('it ran')")
    failed = run_programs([first, program, first._replace(where="page.md:2")], tmp_path)
    assert (failed.returncode, failed.stdout) == (1, "it ran\n")
    assert failed.stderr.endswith("page.md:1 ended with 3\n")
    assert script(listed) == "false\ntrue"
    assert run_commands(listed).returncode == 1


def test_every_proof_that_the_reliability_page_names_exists() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    named = re.findall(r"`([\w/]+\.py)`", page)
    assert len(named) > 10
    assert [name for name in named if not (ROOT / "tests" / name).is_file()] == []
