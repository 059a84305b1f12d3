"""A handler of the wrong types does not pass the type checkers, and one of the right types does without ignores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
from pydantic import BaseModel
from sagaline.sagas import Contract, Rejected
from sagaline.workers import Context, Worker

class Ask(BaseModel):
    text: str

class Answer(BaseModel):
    text: str

class Other(BaseModel):
    text: str

contract = Contract("ask", Ask, Answer, queue="questions")
worker = Worker("answerer")
"""
RIGHT = """
@worker.handles(contract)
async def both(command: Ask, ctx: Context) -> Answer | Rejected:
    ctx.execute("INSERT INTO answers VALUES (?, ?)", (command.text, ctx.attempt))
    return Rejected("no") if ctx.undo else Answer(text=command.text)

@worker.handles(contract)
async def reply_only(command: Ask, ctx: Context) -> Answer:
    return Answer(text=command.text)

@worker.handles(contract)
async def refuses(command: Ask, ctx: Context) -> Rejected:
    return Rejected("no")
"""
WRONG = {
    "command": "async def handler(command: Other, ctx: Context) -> Answer: return Answer(text='')",
    "reply": "async def handler(command: Ask, ctx: Context) -> Other: return Other(text='')",
    "no-reply": "async def handler(command: Ask, ctx: Context) -> Answer | None: return None",
    "not-async": "def handler(command: Ask, ctx: Context) -> Answer: return Answer(text='')",
    "no-context": "async def handler(command: Ask) -> Answer: return Answer(text='')",
    "parameter": (
        "async def handler(command: Ask, ctx: Context) -> Answer:\n"
        "    ctx.execute('INSERT INTO t VALUES (?)', (command,))\n"
        "    return Answer(text='')"
    ),
}
ROOT = Path(__file__).parents[2]
CHECKERS = {"mypy": ["mypy", "--strict", "--no-incremental"], "pyright": ["pyright", "--pythonpath", sys.executable]}


def errors(checker: str, path: Path) -> list[str]:
    """The files that the checker finds errors in, one entry per error."""
    command = [sys.executable, "-m", *CHECKERS[checker], str(path)]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False).stdout
    return [Path(line.split(":")[0].strip()).stem for line in output.splitlines() if "error:" in line]


@pytest.mark.slow
@pytest.mark.parametrize("checker", CHECKERS)
def test_types_of_handlers_are_checked(checker: str, tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text(HEAD + RIGHT)
    for name, handler in WRONG.items():
        (tmp_path / f"wrong_{name.replace('-', '_')}.py").write_text(f"{HEAD}\n@worker.handles(contract)\n{handler}\n")
    found = errors(checker, tmp_path)
    assert set(found) == {f"wrong_{name.replace('-', '_')}" for name in WRONG}
