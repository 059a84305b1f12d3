"""The deploy gate: what is running is asked whether it would go on under new code, before that is deployed."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sagaline.orchestrator.cli.app import app
from sagaline.orchestrator.cli.deploy_check import objection, skeleton
from sagaline.orchestrator.codec.documents import decode_history
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.kernel.recompute import recompute
from sagaline.orchestrator.messages.document import Document
from sagaline.orchestrator.messages.history import HistoryRecord
from sagaline.sagas import Saga

from .cli_kit import logs_restored
from .kernel_nodes import Talk, command_named, flow_of, leg
from .stack import stack
from .test_migrations import Longer, new, old

CODE = """
from pydantic import BaseModel, JsonValue
from sagaline.sagas import Contract, Saga, step

class Do(BaseModel):
    n: int = 0

class Did(BaseModel):
    ok: bool = True

class Talk(BaseModel):
    n: int = 0

contracts = {name: Contract(f"do-{name}", Do, Did, queue="q") for name in "abc"}

def leg(name):
    return step(contracts[name], name=name)(lambda s: Do())

"""
OLD = CODE + 'talk = Saga("talk", Talk, flow=[leg("a"), leg("b")])\n'
CHANGED = CODE + 'talk = Saga("talk", Talk, flow=[leg("c"), leg("a")])\n'
NEW = CODE + 'talk = Saga("talk", Talk, version=2, flow=[leg("a"), leg("c")])\n'
MIGRATING = (
    NEW
    + """
@talk.migrate(from_version=1)
def from_version_1(before: dict[str, JsonValue]) -> Talk:
    return Talk.model_validate(before)
"""
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with each code in a module of its own; what was imported from it is forgotten afterwards."""
    codes = {"code_old": OLD, "code_changed": CHANGED, "code_new": NEW, "code_migrating": MIGRATING}
    for name, text in codes.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    with logs_restored():
        yield tmp_path
    for name in codes:
        sys.modules.pop(name, None)


def check(*arguments: str, code: int) -> str:
    log = ("--log", "sqlite:///sagaline.db", "--namespace", "t")
    done = CliRunner().invoke(app, ["deploy-check", *arguments, *log])
    assert done.exit_code == code, f"{done.exit_code}\n{done.output}"
    return done.stdout


async def start_eight(folder: Path) -> None:
    async with stack(folder, registry=Registry([flow_of(leg("a", undo=False), leg("b", undo=False))])) as up:
        for key in "12345678":
            await up.client.start("talk", {"n": 1}, key=key)


@pytest.mark.slow
def test_the_gate_refuses_until_a_migration_makes_it_pass(folder: Path) -> None:
    """With open instances in the log; the proposed migration is the one that was missing."""
    asyncio.run(start_eight(folder))
    assert "8 open instances checked: 8 continue, 0 could not." in check("code_old:talk", code=0)
    told = check("code_new:talk", code=1)
    assert "8 could not continue: version 1 of 'talk' is not in the code, and no other version migrates from it" in told
    assert "@talk.migrate(from_version=1)" in told
    assert " and 3 more" in told
    changed = check("code_changed:talk", code=1)
    assert re.search(r"differs: what was sent was talk/1/a~(\w+)/1 and would now be talk/1/c~\1/1", changed)
    passed = json.loads(check("code_migrating:talk", "--json", "--sample", "3", code=0))
    assert passed == {"open": 3, "broken": {}, "later_runs": {}}


async def start_again(folder: Path) -> None:
    """One instance in the first run of its key, and one in the second."""
    async with stack(folder, registry=Registry([flow_of(leg("a", undo=False), leg("b", undo=False))])) as up:
        for key in ("one", "two"):
            await up.client.start("talk", {"n": 1}, key=key)
        for name in "ab":
            document = await up.client.get("talk/two")
            await up.client.commands.complete(command_named(document, f"{name}/1"), {"ok": True})
        await up.client.start("talk", {"n": 2}, key="two", conflict="queue")


@pytest.mark.slow
def test_the_gate_says_which_instances_are_in_a_later_run_and_not_decided_again(folder: Path) -> None:
    asyncio.run(start_again(folder))
    told = check("code_old:talk", code=0)
    assert "1 are in a later run of their key: talk/two (run 2). Only the first run of a key is decided again" in told
    passed = json.loads(check("code_old:talk", "--json", code=0))
    assert passed == {"open": 2, "broken": {}, "later_runs": {"talk/two": 1}}


async def recorded(folder: Path) -> tuple[Document, list[HistoryRecord]]:
    """An instance of version 1 and its history."""
    async with stack(folder, registry=Registry([old()])) as up:
        started = await up.client.start("talk", {"n": 7}, key="1")
        document = await up.client.get(started.instance)
        tail = await up.log.tail([up.topics.history], "earliest")
        records = await tail.poll(max_records=100, timeout=1.0)
        await tail.close()
        return document, [decode_history(each) for each in records if each.key == b"talk/1"]


async def test_the_first_decision_that_comes_out_differently_is_told(tmp_path: Path) -> None:
    """With what it was and what it would be."""
    document, history = await recorded(tmp_path)
    assert recompute(old(), history).document == document
    found = recompute(Saga("talk", Talk, flow=[leg("b"), leg("a")]), history).difference
    first, other = (command_named(document, each) for each in ("a/1", "b/1"))
    assert str(found) == f"revision 1 differs: what was sent was {first} and would now be {other}"


async def test_every_way_to_break_an_instance_is_told(tmp_path: Path) -> None:
    """A missing version, a migration that cannot be done, a step that is gone, a state that does not fit."""
    document, history = await recorded(tmp_path)

    def told(*definitions: Saga[Talk] | Saga[Longer]) -> str | None:
        return objection(Registry(definitions), document, history)

    assert told(old()) is None
    assert told(new()) is None
    assert told(old(), new(broken=True)) is None, "its own version is still there"
    assert told(flow_of(leg("a"), name="other")) == "version 1 of 'talk' is not in the code"
    assert "raised RuntimeError: not thought of" in (told(new(broken=True)) or "")
    assert "the deployed code has no step 'a'" in (told(Saga("talk", Talk, flow=[leg("b")])) or "")
    other = Saga("talk", Longer, flow=[leg("a", model=Longer)])
    assert "its state no longer fits Longer: 1 validation error" in (told(other) or "")


async def test_the_proposed_migration_compiles(tmp_path: Path) -> None:
    """It names the steps that are gone, and the version to give when it was forgotten."""
    document, _ = await recorded(tmp_path)
    text = skeleton(new(leg("b", model=Longer)), document)
    compile(text, "skeleton", "exec")
    assert text.startswith("@talk.migrate(from_version=1, dropped=('a',))\ndef from_version_1(")
    assert skeleton(old(), document).startswith("# give 'talk' version=2\n@talk.migrate(from_version=1)\n")
