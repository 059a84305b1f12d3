"""Faults that are asked for happen as they say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from sagaline.orchestrator.errors import LogUnavailable, OwnershipLost
from sagaline.orchestrator.ports.log import Batch, Outgoing, Position
from sagaline.orchestrator.ports.topics import Topics
from sagaline.orchestrator.testing import Broker, Fault, Faults, MemoryLog, Operation, SimClock, run

TOPICS = Topics("t")


def world(play: Callable[[MemoryLog, Broker], Awaitable[None]]) -> Broker:
    broker = Broker(SimClock(0), Faults(0))

    async def main() -> None:
        log = MemoryLog(broker)
        await log.create_topics(TOPICS.specs(["q"], 1))
        await play(log, broker)

    run(main(), seed=0)
    return broker


def values(broker: Broker) -> list[bytes | None]:
    return [record.value for record in broker.snapshot()[TOPICS.inputs][0]]


def out(value: bytes) -> Outgoing:
    return Outgoing(TOPICS.inputs, b"k", value)


@pytest.mark.parametrize(
    ("fault", "raises", "written"),
    [
        (Fault.DELAY, False, [b"1"]),
        (Fault.LOSE, True, []),
        (Fault.UNANSWERED, True, [b"1"]),
        (Fault.LATE, True, []),
        (Fault.DOUBLE, False, [b"1", b"1"]),
        (Fault.TORN, True, []),
        (Fault.CUT, True, []),
        (Fault.FULL, True, []),
        (Fault.CRASH_BEFORE, True, []),
        (Fault.CRASH_AFTER, True, [b"1"]),
    ],
)
def test_an_append_suffers_what_the_fault_says(fault: Fault, raises: bool, written: list[bytes]) -> None:
    async def play(log: MemoryLog, broker: Broker) -> None:
        broker.faults.inject(fault, Operation.APPEND)
        if raises:
            with pytest.raises(LogUnavailable):
                await log.append([out(b"1")])
        else:
            await log.append([out(b"1")])
        assert values(broker) == written
        assert broker.faults.counts == {fault: 1}
        assert log.killed is fault.startswith("crash")

    world(play)


def test_a_commit_that_is_late_is_settled_by_the_next_take() -> None:
    async def play(log: MemoryLog, broker: Broker) -> None:
        membership = await log.join(TOPICS.inputs, TOPICS.state, "engine")
        await membership.changed()
        owner = await membership.take(0)
        broker.faults.inject(Fault.LATE, Operation.COMMIT)
        known = True
        try:
            await owner.commit(Batch({b"a": b"1"}, [], Position(0, 1)))
        except LogUnavailable:
            known = False
        assert broker.snapshot()[TOPICS.state] == [[]]
        again = await membership.take(0)
        assert again.get(b"a") in ((b"1",) if known else (b"1", None))
        with pytest.raises(OwnershipLost):
            await owner.commit(Batch({b"a": b"2"}, [], Position(0, 2)))

    world(play)


def test_a_call_cannot_be_given_a_fault_that_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="read cannot have the fault double"):
        Faults(0).inject(Fault.DOUBLE, Operation.READ)
