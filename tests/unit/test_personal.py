"""Personal data: sealed from where they enter, read by workers only, and gone when their subject is erased."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from sagaline.orchestrator.client.options import RequestOptions
from sagaline.orchestrator.errors import Erased, InvalidRequest, Sealed
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.kernel.recompute import recompute
from sagaline.orchestrator.messages.document import Document, Status
from sagaline.orchestrator.messages.entity_messages import SetRules
from sagaline.orchestrator.ports.read_model import OperationFilter
from sagaline.orchestrator.testing.kit import given, has_status, ok, sent
from sagaline.orchestrator.verify import verify
from sagaline.sagas import Contract, DefinitionError, Event, Saga, step
from sagaline.sagas.models import read
from sagaline.sagas.nodes import emit
from sagaline.sagas.personal import Personal, Subject, pretend_sealed
from sagaline.workers import Message, Worker, WorkerRuntime

from .stack import Stack, running, stack

EMAIL, PHONE = "ada.lovelace@example.org", "+44-20-7946-0000"
PATIENCE_SECONDS = 30


class Customer(BaseModel):
    id: Annotated[str, Subject()]
    email: Personal[str]


class Found(BaseModel):
    customer: Annotated[str, Subject()]
    phone: Personal[str]


class Contacted(BaseModel):
    customer: Annotated[str, Subject()]
    email: Personal[str]


class Mail(BaseModel):
    to: Personal[str]
    phone: Personal[str] | None = None


class Sent(BaseModel):
    length: int


class Welcome(BaseModel):
    customer: Customer
    found: Found | None = None
    sent: Sent | None = None


look_up = Contract("look-up", Mail, Found, queue="mail")
send = Contract("send", Mail, Sent, queue="mail")
contacted = Event("contacted", Contacted, keep=timedelta(days=1))


@step(look_up, into="found")
def looking(s: Welcome) -> Mail:
    return Mail(to=s.customer.email)


@step(send, into="sent")
def sending(s: Welcome) -> Mail:
    assert s.found is not None
    return Mail(to=s.customer.email, phone=s.found.phone)


welcome = Saga(
    "welcome",
    Welcome,
    flow=[
        looking,
        sending,
        emit(
            contacted,
            lambda s: Contacted(customer=s.customer.id, email=s.customer.email),
            key=lambda s: s.customer.id,
        ),
    ],
)
REGISTRY = Registry([welcome])


class Mailer:
    """A worker that reads, and keeps what it has read."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.worker = worker = Worker("mailer")

        @worker.handles(look_up)
        async def find(command: Mail) -> Found:
            return Found(customer="C-7", phone=Personal(PHONE))

        @worker.handles(send)
        async def mail(command: Mail) -> Sent:
            assert command.phone is not None
            self.read += [command.to.reveal(), command.phone.reveal()]
            return Sent(length=len(command.to.reveal()))

        @worker.subscribes(contacted, group="crm")
        async def note(body: Contacted, message: Message) -> None:
            self.read.append(body.email.reveal())


@asynccontextmanager
async def system(folder: Path, mailer: Mailer) -> AsyncIterator[Stack]:
    async with stack(folder, registry=REGISTRY) as up:
        await up.log.create_topics(up.topics.subscribed("crm", None, 2))
        runtime = WorkerRuntime(mailer.worker, up.log, up.topics, up.parts.clock, vault=up.parts.vault)
        async with running(runtime.run()):
            yield up


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if await happened():
                return
            await asyncio.sleep(0.01)


async def ended(up: Stack, key: str) -> Document:
    async def has_ended() -> bool:
        return (await up.client.get(f"welcome/{key}")).status.is_final

    await until(has_ended)
    return await up.client.get(f"welcome/{key}")


async def verifies(up: Stack, document: Document) -> bool:
    """Today's code makes the same of its history."""
    found = recompute(welcome, [row.record for row in await up.client.history(document.id)])
    assert found.difference is None, found.difference
    return found.whole and found.document is not None and found.document.state == document.state


def customer(email: str = EMAIL, id: str = "C-7") -> dict[str, Any]:
    return {"customer": {"id": id, "email": email}}


def on_disk(folder: Path) -> bytes:
    return b"".join(each.read_bytes() for each in folder.iterdir())


async def test_a_value_is_read_by_handlers_and_is_nowhere_else(tmp_path: Path) -> None:
    mailer = Mailer()
    async with system(tmp_path, mailer) as up:
        started = await up.client.start("welcome", customer(), key="1")
        again = await up.client.start("welcome", customer(), key="1")
        assert (started.created, again.created) == (True, False), "the same start is the same, though it is sealed"
        document = await ended(up, "1")
        assert document.status is Status.COMPLETED, document

        async def all_read() -> bool:
            return len(mailer.read) == 3

        await until(all_read)
        assert mailer.read == [EMAIL, PHONE, EMAIL]
        state = read(Welcome, document.state)
        with pytest.raises(Sealed, match="handler of a worker"):
            state.customer.email.reveal()
        assert await verifies(up, document)
    for secret in (EMAIL, PHONE):
        assert secret.encode() not in on_disk(tmp_path)


async def test_an_erased_person_cannot_be_read_in_any_copy_and_histories_still_verify(tmp_path: Path) -> None:
    async with stack(tmp_path, registry=REGISTRY) as up:
        await up.client.start("welcome", customer(), key="1")
        await up.client.start("welcome", customer("bob@example.org", "C-8"), key="2")
        keys = up.topics.personal
        kept = await up.log.tail([keys], "earliest")
        wrapped = [each.value for each in await kept.poll(max_records=10, timeout=1)]
        await kept.close()
        assert len(wrapped) == 2
        done = await up.client.personal.erase("C-7", RequestOptions(by="ann", reason="she asked for it"))
        assert (done.subject, done.keys) == ("C-7", 1)
        assert (await up.client.personal.erase("C-7")).keys == 0, "it may be repeated"
        for key, name in (("1", None), ("2", "bob@example.org")):
            state = read(Welcome, (await up.client.get(f"welcome/{key}")).state)
            await up.client.personal.open(state)
            if name is not None:
                assert state.customer.email.reveal() == name
            else:
                assert state.customer.email.is_erased
                with pytest.raises(Erased, match="'C-7' were erased"):
                    state.customer.email.reveal()
            assert await verifies(up, await up.client.get(f"welcome/{key}"))
        ((_, record, _),) = (await up.client.operations(OperationFilter(act="erase"))).rows
        assert isinstance(record.message, SetRules)
        assert (record.message.by, record.message.reason) == ("ann", "she asked for it")
        assert record.reason == "the data of 'C-7' are erased: 1 key"
        late = await up.client.start("welcome", customer(), key="3")
        assert late.created, "who comes back has a new key"
        mine = json.loads(wrapped[0] or b"")["sealed"].encode()
        assert mine not in on_disk(tmp_path)
        assert json.loads(wrapped[1] or b"")["sealed"].encode() in on_disk(tmp_path)


async def test_a_handler_gets_a_clear_error_for_an_erased_person(tmp_path: Path) -> None:
    mailer = Mailer()
    async with stack(tmp_path, registry=REGISTRY) as up:
        await up.client.start("welcome", customer(), key="1")
        await up.client.personal.erase("C-7")
        runtime = WorkerRuntime(mailer.worker, up.log, up.topics, up.parts.clock, vault=up.parts.vault)
        await up.log.create_topics(up.topics.subscribed("crm", None, 2))

        async def says_so() -> bool:
            return any("were erased" in str(row) for row in await up.client.history("welcome/1"))

        async with running(runtime.run()):
            await until(says_so)


async def test_a_sealed_value_is_refused_in_the_data_of_another_person(tmp_path: Path) -> None:
    async with stack(tmp_path, registry=REGISTRY) as up:
        await up.client.start("welcome", customer(), key="1")
        stolen = (await up.client.get("welcome/1")).state["customer"]
        assert isinstance(stolen, dict)
        with pytest.raises(InvalidRequest, match="'C-7' stands in the data of 'C-8'"):
            await up.client.start("welcome", {"customer": {**stolen, "id": "C-8"}}, key="2")


async def test_a_saga_cannot_write_a_value_that_is_not_sealed(tmp_path: Path) -> None:
    @step(send)
    def careless(s: Welcome) -> Mail:
        return Mail(to=Personal(EMAIL))

    registry = Registry([Saga("careless", Welcome, flow=[careless])])
    async with stack(tmp_path, registry=registry) as up:
        started = await up.client.start("careless", customer(), key="1")
        assert started.status is Status.ATTENTION
        assert "not sealed" in str(await up.client.get("careless/1"))
    assert EMAIL.encode() not in on_disk(tmp_path)


def test_no_text_shows_a_value() -> None:
    sealed: Personal[str] = Personal(EMAIL)
    for found in (sealed, Customer(id="C-7", email=sealed), [sealed]):
        assert EMAIL not in f"{found} {found!r}"
    with pytest.raises(ValueError, match="not sealed"):
        Customer(id="C-7", email=sealed).model_dump_json()


def test_definitions_with_personal_fields_are_tested_and_verified_without_keys() -> None:
    found = pretend_sealed(Found(customer="C-7", phone=Personal(PHONE)))
    begun = given(welcome, Welcome(customer=Customer(id="C-7", email=Personal(EMAIL)))).when(ok(looking, found))
    begun.then(sent(sending, Mail(to=begun_email(), phone=found.phone)))
    given(welcome).when(ok(looking), ok(sending)).then(has_status("completed"))
    found_by_verify = verify(welcome)
    assert found_by_verify.complete
    assert {each.breach.law.value for each in found_by_verify.found} == {"no-undo"}, "its steps have none"


def begun_email() -> Personal[str]:
    return pretend_sealed(Customer(id="C-7", email=Personal(EMAIL))).email


class Loose(BaseModel):
    inner: Mail


_NOT_SAID = "Loose: Mail has a personal field and does not say whose it is"
PERSONAL_MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "of an event": (lambda: Event("loose", Loose), _NOT_SAID),
    "of a reply": (lambda: Contract("loose", Mail, Loose, queue="q"), _NOT_SAID),
    "of a state": (lambda: Saga("loose", Loose, flow=[sending]), _NOT_SAID),
}


@pytest.mark.parametrize("mistake", PERSONAL_MISTAKES)
def test_a_model_that_enters_must_say_whose_its_personal_values_are(mistake: str) -> None:
    declare, message = PERSONAL_MISTAKES[mistake]
    with pytest.raises(DefinitionError, match=message):
        declare()
