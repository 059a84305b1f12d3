"""Personal values in a worker: what is slow or wrong about one fails its attempt, and nothing else; it is not said."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, quote_plus

import httpx
import pytest
from pydantic import AfterValidator, BaseModel

from sagaline.orchestrator.messages.inputs import Completed, Failed
from sagaline.orchestrator.messages.inputs import Rejected as RejectedReply
from sagaline.orchestrator.messages.texts import HIDDEN, Hidden, said
from sagaline.orchestrator.vault import KeyRing, Vault
from sagaline.sagas import Contract, Rejected
from sagaline.sagas.personal import Personal, Subject
from sagaline.workers import Context, SqliteInbox, Worker

from ..worker_world import Pack, Packed, WorkerWorld, pack, worker_world
from .stack import PERSONAL_KEY

EMAIL = "ada.lovelace@example.org"
strict = False


def checked(email: str) -> str:
    if strict:
        raise KeyError(email)
    return email


class Label(BaseModel):
    id: Annotated[str, Subject()] = "C-7"
    email: Personal[Annotated[str, AfterValidator(checked)]]


other = Contract("other", Pack, Packed, queue="packing")
label = Contract("label", Label, Packed, queue="packing")


class SlowVault(Vault):
    async def open(self, value: object) -> None:
        await asyncio.sleep(0.1)
        await super().open(value)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WorkerWorld]:
    async with worker_world(tmp_path) as world:
        yield world


def keys(world: WorkerWorld, kind: type[Vault] = Vault) -> Vault:
    return kind(world.log, world.topics.personal, KeyRing([PERSONAL_KEY], "KEYS"))


async def sealed(vault: Vault) -> Label:
    found = Label.model_validate({"email": EMAIL})
    await vault.seal(found)
    return found


class Labelling:
    """Labels, and notes what it has read; packs too."""

    def __init__(self, inbox: SqliteInbox | None = None) -> None:
        self.worker, self.read = Worker("labeller", inbox=inbox), list[str]()

        @self.worker.handles(label)
        async def paint(command: Label, ctx: Context) -> Packed:
            self.read.append(command.email.reveal())
            if inbox is not None:
                ctx.execute(f"INSERT INTO parcels (parcel) VALUES ([{command.email.reveal()}])")
            return Packed(parcel="P")

        @self.worker.handles(pack)
        async def wrap(command: Pack) -> Packed:
            return Packed(parcel="P")


@pytest.mark.parametrize("write", [str, repr, json.dumps, quote, quote_plus, lambda text: f"{httpx.URL('/' + text)}"])
@pytest.mark.parametrize("value", ["Zoë Müller", "ada+test@example.org", 'O\'Brien "Bob"', "1/2 Main St", "C:\\temp"])
def test_a_value_is_hidden_however_it_is_written(write: Callable[[str], str], value: str) -> None:
    text = said(KeyError(f"no {write(value)} here"), Hidden({value}))
    assert re.fullmatch(r"""KeyError: ['"]no [\\'"/]*\*{10}[\\'"]* here['"]""", text), text


async def test_a_handler_is_not_started_when_the_keys_came_after_its_deadline(world: WorkerWorld) -> None:
    labelling, vault = Labelling(), keys(world, SlowVault)
    async with world.running(labelling.worker, vault=vault) as runtime:
        command = world.command(contract=label, payload=await sealed(vault), due_in_ms=50)
        (reply,) = await world.ask(command)
    assert isinstance(reply, Failed)
    assert "nothing was done" in reply.error
    assert (labelling.read, runtime.counts.late) == ([], 1)
    await vault.close()


@pytest.mark.parametrize(
    ("code", "shown"),
    [("no_ada.lovelace@example.org", f"no_{HIDDEN}"), ("ada", HIDDEN), ("adapter_missing", "adapter_missing")],
)
async def test_a_code_stays_whole_unless_it_is_a_personal_text(world: WorkerWorld, code: str, shown: str) -> None:
    worker, vault = Worker("labeller"), keys(world)

    @worker.handles(label)
    async def paint(command: Label) -> Packed:
        raise Rejected(f"nothing for {command.email.reveal()}", code=code)

    command = Label.model_validate({"email": "ada" if "@" not in code else EMAIL})
    await vault.seal(command)
    async with world.running(worker, vault=vault):
        (reply,) = await world.ask(world.command(contract=label, payload=command))
    assert isinstance(reply, RejectedReply)
    assert (reply.code, reply.reason) == (shown, f"nothing for {HIDDEN}")
    await vault.close()


async def test_a_type_that_raises_fails_the_attempt_and_not_the_worker(
    world: WorkerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelling, vault = Labelling(), keys(world)
    command = world.command("order/A", label, await sealed(vault))
    async with world.running(labelling.worker, vault=vault):
        monkeypatch.setitem(globals(), "strict", True)
        (reply,) = await world.ask(command)
        assert isinstance(reply, Failed)
        assert "does not fit the type of its field" in reply.error
        assert EMAIL not in f"{reply}"
        assert isinstance((await world.ask(world.command("order/B")))[0], Completed)
    assert labelling.read == []
    await vault.close()


async def test_what_the_database_says_of_a_statement_shows_no_value(world: WorkerWorld, tmp_path: Path) -> None:
    inbox = SqliteInbox(tmp_path / "inbox.db", schema="CREATE TABLE IF NOT EXISTS parcels (parcel TEXT PRIMARY KEY);")
    labelling, vault = Labelling(inbox), keys(world)
    async with world.running(labelling.worker, vault=vault):
        (reply,) = await world.ask(world.command("order/A", label, await sealed(vault)))
    assert isinstance(reply, Failed)
    assert reply.error.endswith("no such column: **********")
    assert labelling.read == [EMAIL]
    await vault.close()
    await inbox.close()


async def test_a_cancel_while_the_keys_of_the_next_command_are_read_fails_its_attempt_alone(world: WorkerWorld) -> None:
    """A library kept the task of a handler that has ended, and cancels it too late."""
    vault, labelling = keys(world, SlowVault), Labelling()

    @labelling.worker.handles(other)
    async def keep(command: Pack) -> Packed:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_later(0.05, task.cancel)
        return Packed(parcel="P")

    sealed_label = await sealed(vault)
    async with world.running(labelling.worker, vault=vault):
        await world.ask(world.command("order/A", other))
        (cancelled,) = await world.ask(world.command("order/B", label, sealed_label))
        (again,) = await world.ask(world.command("order/B", label, sealed_label, attempt=2))
    assert isinstance(cancelled, Failed)
    assert "CancelledError" in cancelled.error
    assert isinstance(again, Completed)
