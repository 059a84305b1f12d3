"""Hostile replies and records among good ones, in memory: good ones end (G6), and what is live has a way on (G4)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.messages.partitioning import partition_of
from sagaline.orchestrator.ports.log import Headers
from sagaline.orchestrator.testing.broker import Row
from sagaline.sagas import Contract, Rejected, Retry, Saga, step
from sagaline.testing import World

from .. import hostile
from ..engine_world import Note, two_steps

PARTITIONS = 2
MANY = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
HOUR = timedelta(hours=1)


class Loose(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="constants")
    value: Any = None


do_loose = Contract("do-loose", Loose, Loose, queue="work")
undo_loose = Contract("undo-loose", Loose, Loose, queue="work")


@step(do_loose, into="value", name="first", retry=Retry(max_attempts=2, first_delay=timedelta(seconds=1)))
def first(s: Loose) -> Loose:
    return Loose()


@first.undo(undo_loose)
def undo(s: Loose) -> Loose:
    return Loose()


@step(do_loose, name="second", retry=Retry(max_attempts=1))
def second(s: Loose) -> Loose:
    return Loose()


loose = Saga("loose", Loose, version=1, flow=[first, second])
pair = two_steps()


def good_ones_end(world: World) -> None:
    """On every partition an instance that began after all of it goes to its end."""
    for number in range(2 * PARTITIONS):
        key = next(
            key
            for key in (f"good-{number}-{other}" for other in range(99))
            if partition_of(f"pair/{key}".encode(), PARTITIONS) == number % PARTITIONS
        )
        world.start(pair, key, Note())
    world.settle(within=HOUR)
    found = [each for each in world.documents().values() if each.definition == "pair" and "/good-" in each.id]
    assert [each.status for each in found] == [Status.COMPLETED] * 2 * PARTITIONS


def _answers(given: Sequence[Any]) -> Any:
    left = list(given)

    def answer(command: BaseModel) -> BaseModel | Rejected:
        value = left.pop(0) if left else None
        if isinstance(value, BaseException):
            raise value
        return value if isinstance(value, Rejected) else Loose(value=value)

    return answer


REJECTED = st.builds(lambda reason, code: Rejected(reason, code=code), hostile.texts(), hostile.texts())


def _replies(given: Sequence[Any]) -> None:
    with World(loose, pair) as world:
        world.answer(do_loose, _answers(given))
        world.answer(undo_loose, _answers(given[::-1]))
        instance = world.start(loose, "A", {})
        world.settle(within=HOUR)  # final, or in attention
        assert instance in world.documents()
        good_ones_end(world)
        assert world.broker.snapshot()[world.topics.dead] == [[], []]


class Raw(BaseModel):
    """A record of ``inputs``, most of it sound."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    kind: str
    key: str
    value: bytes | None
    headers: Headers
    partition: int


KINDS = [
    "sagaline.start",
    "sagaline.act",
    "sagaline.reply.completed",
    "sagaline.reply.failed",
    "sagaline.reply.rejected",
]
RAW = st.builds(
    Raw.model_construct,
    kind=st.sampled_from([*KINDS, "sagaline.entity.published", "sagaline.entity.unwind", "nobody.knows.this"]),
    key=st.sampled_from(["loose/A", "pair/A", "@mailbox/e/k", "@lock/l", "@table/t"]) | hostile.keys(),
    value=hostile.raw_values(),
    headers=hostile.headers(),
    partition=st.integers(0, PARTITIONS - 1),
)


def _records(given: Sequence[Raw]) -> None:
    """Written past every check, as a client of another make would. Some of them answer commands that are under way."""
    with World(loose, pair) as world:
        world.answer(do_loose, _silent)
        instance = world.start(loose, "A", {})
        inputs = world.broker.topic(world.topics.inputs)
        for raw in given:
            command = (
                (("ce_commandid", f"{instance}/first/1".encode()),) if raw.kind.startswith("sagaline.reply") else ()
            )
            sound: Headers = (("ce_type", raw.kind.encode()), ("ce_id", b"hostile"), *command)
            key = raw.key.encode("utf-8", "surrogatepass")
            world._do(_append(world, Row(inputs[raw.partition], key, raw.value, (*sound, *raw.headers))))
            world.advance(seconds=1)
        world.settle(within=HOUR)
        assert instance in world.documents()
        good_ones_end(world)


async def _append(world: World, row: Row) -> None:
    world.broker.append([row])


def _silent(command: BaseModel) -> BaseModel:
    raise TimeoutError("the worker has nothing to say")


def test_a_hostile_reply_harms_its_own_instance_only() -> None:
    """The short form of what is drawn below."""
    _replies([ValueError("\ud800")])


def test_a_hostile_record_harms_its_own_instance_only() -> None:
    """The short form of what is drawn below."""
    twice: Headers = (("ce_type", b"sagaline.act"), ("x", b"\xff" * 10_000))
    _records([Raw(kind="sagaline.start", key="pair/\ud800", value=b'{"a":NaN', headers=twice, partition=1)])


@pytest.mark.slow
@MANY
@given(st.lists(hostile.replies() | REJECTED, min_size=1, max_size=3))
def test_many_hostile_replies_harm_their_own_instance_only(given: list[Any]) -> None:
    _replies(given)


@pytest.mark.slow
@MANY
@given(st.lists(RAW, min_size=1, max_size=6))
def test_many_hostile_records_harm_their_own_instance_only(given: list[Raw]) -> None:
    _records(given)
