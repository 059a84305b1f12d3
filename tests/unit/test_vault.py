"""The vault by itself: erasures beside a rewrap, what came sealed, and what each model has for itself."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import AfterValidator, BaseModel

from sagaline.orchestrator.adapters.clock import SystemClock
from sagaline.orchestrator.adapters.sqlite_log import SqliteLog
from sagaline.orchestrator.errors import InvalidRequest, MissingKey
from sagaline.orchestrator.messages.personal import records_of
from sagaline.orchestrator.ports.log import Outgoing
from sagaline.orchestrator.ports.topics import Topics
from sagaline.orchestrator.vault import KeyRing, Vault
from sagaline.sagas.personal import Personal, Subject

OLD, NEW = (f"{id}:{b64encode(bytes([number]) * 32).decode()}" for number, id in enumerate(("old", "new")))
TOPICS = Topics("t")
EMAIL = "ada.lovelace@example.org"


class Customer(BaseModel):
    id: Annotated[str, Subject()]
    email: Personal[str] = Personal("unknown")


class Sum(BaseModel):
    id: Annotated[str, Subject()]
    sum: Personal[float]


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    async with SqliteLog(tmp_path / "x.db", clock=SystemClock()) as log:
        await log.create_topics(TOPICS.specs([], 1))
        yield log


def vault(log: SqliteLog, *keys: str) -> Vault:
    return Vault(log, TOPICS.personal, KeyRing(keys, "SAGALINE_PERSONAL_KEYS"))


async def sealed(by: Vault, id: str, email: str = EMAIL) -> str:
    customer = Customer(id=id, email=Personal(email))
    await by.seal(customer)
    return customer.model_dump_json()


async def opened(log: SqliteLog, written: str) -> Personal[str]:
    customer = Customer.model_validate_json(written)
    await vault(log, NEW, OLD).open(customer)
    return customer.email


def tombstones(subject: str, id: str) -> list[Outgoing]:
    """As the engine writes them."""
    return [Outgoing(TOPICS.personal, f"{subject}/{each}".encode(), None, (), 0) for each in records_of(id)]


@pytest.mark.parametrize("turn", [1, 2], ids=["before its batch", "just before its new record"])
async def test_a_key_that_is_erased_while_keys_are_sealed_anew_stays_erased(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch, turn: int
) -> None:
    monkeypatch.setattr("sagaline.orchestrator.vault.vault._REWRAP_RECORDS", 1)
    first = vault(log, OLD)
    written = {id: await sealed(first, id) for id in ("C-1", "C-2")}
    (id,) = await first.keys_of("C-2")
    append, turns = log.append, 0

    async def slow(records: Sequence[Outgoing]) -> None:
        nonlocal turns
        turns += 1
        if turns == turn:
            await append(tombstones("C-2", id))
        await append(records)

    monkeypatch.setattr(log, "append", slow)
    assert await vault(log, NEW, OLD).rewrap() == 1
    assert (await opened(log, written["C-2"])).is_erased
    assert (await opened(log, written["C-1"])).reveal() == EMAIL
    assert await first.keys_of("C-2") == []


async def test_a_key_that_came_back_is_void_and_can_be_erased_again(log: SqliteLog) -> None:
    """As when the process that sealed it anew has died before it could end it."""
    first = vault(log, OLD)
    written = await sealed(first, "C-1")
    (id,) = await first.keys_of("C-1")
    tail = await log.tail([TOPICS.personal], "earliest")
    (record,) = await tail.poll(max_records=1, timeout=5)
    await tail.close()
    await log.append(tombstones("C-1", id))
    assert await first.keys_of("C-1") == []
    await log.append([Outgoing(record.topic, (record.key or b"") + b"~", record.value, record.headers, 0)])
    assert await first.keys_of("C-1") == [id], "so an erasure sees it"
    assert (await opened(log, written)).is_erased, "also for a process that begins now"
    assert await vault(log, OLD).rewrap() == 0
    assert await first.keys_of("C-1") == []


async def test_what_came_sealed_must_open(log: SqliteLog) -> None:
    by = vault(log, OLD)
    good = Customer.model_validate_json(await sealed(by, "C-1"))
    await by.seal_foreign(good)
    assert not good.email.is_open, "it was only checked"
    text = str(good.email.sealed)
    for junk, said in (
        ("x", "does not open"),
        (b64encode(b"\x01" + bytes(40)).decode(), "a key that does not exist"),
        (text[:-8] + "AAAAAAA=", "does not open"),
    ):
        forged = Customer.model_validate({"id": "C-1", "email": {"sealed": junk, "subject": "C-1"}})
        with pytest.raises(InvalidRequest, match=said):
            await by.seal_foreign(forged)
    other = Sum.model_validate({"id": "C-1", "sum": {"sealed": text, "subject": "C-1"}})
    with pytest.raises(InvalidRequest, match="does not open"):
        await by.seal_foreign(other)
    with pytest.raises(MissingKey):
        await vault(log, NEW).seal_foreign(Customer.model_validate_json(good.model_dump_json()))


def _raises(value: str) -> str:
    if value == EMAIL:
        raise KeyError(value)
    return value


class Grade(BaseModel):
    id: Annotated[str, Subject()]
    marks: Personal[list[float | None]]


class Picky(BaseModel):
    id: Annotated[str, Subject()]
    email: Personal[Annotated[str, AfterValidator(_raises)]]


async def test_a_value_that_would_not_read_back_is_not_sealed(log: SqliteLog) -> None:
    nan = float("nan")
    marks = Grade(id="C-1", marks=Personal([1.0, nan]))
    for value in (Sum(id="C-1", sum=Personal(nan)), marks, Picky(id="C-1", email=Personal(EMAIL))):
        with pytest.raises(InvalidRequest, match="'C-1' would not read back") as error:
            await vault(log, OLD).seal(value)
        assert EMAIL not in str(error.value)
        assert error.value.__suppress_context__


async def test_each_model_has_its_own_copy_of_a_shared_value(log: SqliteLog) -> None:
    by, shared = vault(log, OLD), Personal("nobody@example.org")
    for id in ("C-1", "C-2"):
        default, constant = Customer(id=id), Customer(id=id, email=shared)
        await by.seal(default)
        await by.seal(constant)
        assert (default.email.subject, constant.email.subject) == (id, id)
    assert shared.sealed is None


async def test_many_at_once_read_the_keys_together(log: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    by = vault(log, OLD)
    await by.keys_of("C-1")
    end_offsets, asked = log.end_offsets, 0

    async def counted(topics: Sequence[str]) -> object:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return await end_offsets(topics)

    monkeypatch.setattr(log, "end_offsets", counted)
    await asyncio.gather(*(by.keys_of("C-1") for _ in range(100)))
    assert asked <= 2, "the one that is under way, and the next one"
