"""Acts and replies with personal values: they are sealed, or refused before anything is written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from sagaline.orchestrator.client import Client
from sagaline.orchestrator.client.options import RequestOptions
from sagaline.orchestrator.client.personal import check_letter
from sagaline.orchestrator.client.results import OnStep
from sagaline.orchestrator.errors import ActDenied, InvalidRequest, TransientError
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.messages.document import Document
from sagaline.orchestrator.messages.inputs import ActName
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.orchestrator.messages.reasons import ReasonCode
from sagaline.orchestrator.ports.log import Outgoing
from sagaline.sagas import Contract, Saga, step
from sagaline.sagas.models import read
from sagaline.sagas.nodes import ask
from sagaline.sagas.personal import Personal, Subject

from .kernel_nodes import command_named
from .stack import Stack, stack

SECRET = "ada.lovelace@example.org"


class Customer(BaseModel):
    id: Annotated[str, Subject()]
    email: Personal[str]


class Mail(BaseModel):
    to: Personal[str]


class Visit(BaseModel):
    customer: Customer
    form: Customer | None = None
    found: Customer | None = None


look = Contract("look", Mail, Customer, queue="q")
forget = Contract("forget", Mail, Customer, queue="q")


@step(look, into="found")
def looking(s: Visit) -> Mail:
    return Mail(to=s.customer.email)


@looking.undo(forget)
def forgetting(s: Visit) -> Mail:
    return Mail(to=s.customer.email)


@step(look, into="found")
def once_more(s: Visit) -> Mail:
    return Mail(to=s.customer.email)


asking = ask("form", Customer, question=lambda s: "?", who=lambda s: ["ann"], into="form", due=timedelta(days=1))
OLD = Saga("visit", Visit, version=1, flow=[asking, looking])
NEW = Saga("visit", Visit, version=2, flow=[once_more])
ID = "visit/1"


def customer(email: str = SECRET) -> dict[str, Any]:
    return {"id": "C-7", "email": email}


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path, registry=Registry([OLD, NEW])) as up:
        await up.client.start("visit", {"customer": customer("bob@example.org")}, key="1", version=1)
        yield up


def is_plain_on_disk(folder: Path) -> bool:
    return any(SECRET.encode() in each.read_bytes() for each in folder.iterdir())


async def answered(up: Stack) -> Document:
    await up.client.act(ID, ActName.ANSWER, by="ann", on=OnStep("form", customer()))
    return await up.client.get(ID)


async def revealed(up: Stack, found: Customer | None) -> str:
    assert found is not None
    await up.client.personal.open(found)
    return found.email.reveal()


async def test_an_answer_and_a_skip_are_sealed_by_the_version_of_the_instance(up: Stack, tmp_path: Path) -> None:
    await answered(up)
    await up.client.act(ID, ActName.SKIP, on=OnStep("looking", customer()))
    state = read(Visit, (await up.client.get(ID)).state)
    assert [await revealed(up, each) for each in (state.form, state.found)] == [SECRET, SECRET]
    assert not is_plain_on_disk(tmp_path)


async def test_a_reply_is_sealed_by_the_version_of_the_instance(up: Stack, tmp_path: Path) -> None:
    command = command_named(await answered(up), "looking/1")
    await up.client.commands.complete(command, customer())
    assert await revealed(up, read(Visit, (await up.client.get(ID)).state).found) == SECRET
    assert not is_plain_on_disk(tmp_path)


def overwritten(operation: dict[str, Any]) -> dict[str, Any]:
    """A patch whose result has nothing of the operation in it any more."""
    steps = [{"op": "copy", "from": "/customer", "path": "/found"}, {"op": "add", "path": "/form", "value": None}]
    back = [
        {"op": "copy", "from": "/found", "path": "/customer"},
        *({"op": "add", "path": f"/{name}", "value": None} for name in ("form", "found")),
    ]
    return {"patch": [*steps, operation, *back]}


PATCH: dict[str, Any] = {"patch": [{"op": "replace", "path": "/customer/email", "value": SECRET}]}


@pytest.mark.parametrize(
    ("act", "on"),
    [
        (ActName.EDIT, OnStep(value=PATCH)),
        (ActName.EDIT, OnStep(value={"patch": [{"op": "test", "path": "/customer/email", "value": SECRET}]})),
        (ActName.EDIT, OnStep(value={"email": SECRET})),
        (ActName.EDIT, OnStep(value=overwritten({"op": "add", "path": "/customer/email", "value": SECRET}))),
        (ActName.EDIT, OnStep(value=overwritten({"op": "add", "path": "/form", "value": customer()}))),
        (ActName.EDIT, OnStep(value=overwritten({"op": "remove", "path": "/form", "value": SECRET}))),
        (ActName.EDIT, OnStep(value=overwritten({"op": "remove", "path": "/form", "from": SECRET}))),
        (ActName.RESTART, OnStep("looking", overwritten({"op": "add", "path": "/customer/email", "value": SECRET}))),
        (
            ActName.FORK,
            OnStep("looking", {"key": "2", **overwritten({"op": "add", "path": "/form", "value": customer()})}),
        ),
        (ActName.RESTART, OnStep("looking", PATCH)),
        (ActName.FORK, OnStep("looking", {"key": "2", **PATCH})),
        (ActName.REVISE, OnStep(value={"ahead": [SECRET]})),
        (ActName.REPLACE_UNDO, OnStep("looking", {"command": {"to": SECRET}})),
        (ActName.REPLACE_UNDO, OnStep("looking", {"contract": "other", "command": {"to": SECRET}})),
        (ActName.ANSWER, OnStep("other", customer())),
        (ActName.ANSWER, OnStep("looking", customer())),
        (ActName.SKIP, OnStep("form", customer())),
        (ActName.SKIP, OnStep("looking", {**customer(), "more": SECRET})),
    ],
    ids=lambda each: each.value if isinstance(each, ActName) else "",
)
async def test_a_plain_value_that_cannot_be_sealed_is_refused_before_it_is_written(
    up: Stack, tmp_path: Path, act: ActName, on: OnStep
) -> None:
    await up.client.act(ID, ActName.ANSWER, by="ann", on=OnStep("form", customer("bob@example.org")))
    with pytest.raises((InvalidRequest, ActDenied)):
        await up.client.act(ID, act, by="ann", on=on)
    assert not is_plain_on_disk(tmp_path)


async def test_an_edit_by_a_sealed_value_is_done(up: Stack) -> None:
    mine = await up.client.personal.seal(Customer(id="C-7", email=Personal(SECRET)))
    patch: list[Any] = [{"op": "replace", "path": "/customer", "value": mine.model_dump(mode="json")}]
    assert (await up.client.act(ID, ActName.EDIT, on=OnStep(value={"patch": patch}))).changed
    assert await revealed(up, read(Visit, (await up.client.get(ID)).state).customer) == SECRET


async def test_an_edit_may_build_on_its_own_values_and_test_those_of_before(up: Stack) -> None:
    mine = (await up.client.personal.seal(Customer(id="C-7", email=Personal(SECRET)))).model_dump(mode="json")
    before = (await up.client.get(ID)).state["customer"]
    patch: list[Any] = [
        {"op": "test", "path": "/customer", "value": before},
        {"op": "add", "path": "/form", "value": {"id": "C-7"}},
        {"op": "add", "path": "/form/email", "value": mine["email"]},
        {"op": "move", "from": "/form", "path": "/customer"},
        {"op": "add", "path": "/form", "value": None},
    ]
    assert (await up.client.act(ID, ActName.EDIT, on=OnStep(value={"patch": patch}))).changed
    assert await revealed(up, read(Visit, (await up.client.get(ID)).state).customer) == SECRET


async def test_where_the_code_is_not_deployed_nothing_with_a_value_is_sent(up: Stack, tmp_path: Path) -> None:
    other = Client(replace(up.parts, registry=Registry([NEW])))
    with pytest.raises(ActDenied) as error:
        await other.act(ID, ActName.ANSWER, by="ann", on=OnStep("form", customer()))
    assert error.value.code is ReasonCode.CODE_NOT_DEPLOYED
    await up.client.act(ID, ActName.ANSWER, by="ann", on=OnStep("form", customer("bob@example.org")))
    command = command_named(await up.client.get(ID), "looking/1")
    with pytest.raises(TransientError, match="version 1 is not deployed here"):
        await other.commands.complete(command, customer())
    assert not is_plain_on_disk(tmp_path)


async def test_a_rehearsed_answer_needs_no_key_and_makes_none(up: Stack) -> None:
    document = await up.client.get(ID)
    value = Customer(id="C-9", email=Personal(SECRET))
    decision = await up.client.rehearse(document, ActName.ANSWER, by="ann", on=OnStep("form", value))
    assert decision.outcome is Outcome.APPLIED
    assert SECRET not in str(decision)
    assert not await up.parts.vault.keys_of("C-9")
    assert value.email.sealed is None, "it is the caller's"
    with pytest.raises(InvalidRequest):
        await up.client.rehearse(document, ActName.ANSWER, by="ann", on=OnStep("form", {"id": "", "email": SECRET}))


async def test_an_erasure_may_be_repeated_and_is_done_each_time(up: Stack) -> None:
    """The same keys again are not "set already": one may have come back."""
    tail = await up.log.tail([up.topics.personal], "earliest")
    (record, *_) = await tail.poll(max_records=10, timeout=5)
    await tail.close()
    options = RequestOptions(by="ann")
    assert (await up.client.personal.erase("C-7", options)).keys == 1
    await up.log.append([Outgoing(record.topic, (record.key or b"") + b"~", record.value, record.headers, 0)])
    assert (await up.client.personal.erase("C-7", options)).keys == 1
    assert await up.parts.vault.keys_of("C-7") == []


def test_a_letter_keeps_sealed_what_is_sealed_in_it() -> None:
    sealed = b'{"sealed": "AUX3", "subject": "C-7"}'
    before = b'{"customer": {"email": %s}, "all": [%s, 1]}' % (sealed, sealed)
    for fine in (before, b"{}", b'{"customer": null, "all": []}', b'{"customer": {"email": %s}}' % sealed):
        check_letter(before, fine)
    check_letter(b"anything", b"else")
    check_letter(before, None)
    for plain in (b'{"customer": {"email": "a@x"}}', b'{"customer": "a@x"}', b'{"all": ["a@x"]}', b"a@x"):
        with pytest.raises(InvalidRequest) as error:
            check_letter(before, plain)
        assert error.value.field == "value"
        assert "a@x" not in str(error.value)
