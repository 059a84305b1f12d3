"""Parking a key: every interleaving of a worker that crashes, its successors, and the parcel as the kernel decides it.

One key with three messages. The worker writes marker, letter and position one after the other, which is weaker than the
one commit of a subscription; redeliveries may fail, and an operator redrives a parked key. Held: no message is lost,
the first success of each comes in order, and every quiet end is released and committed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pytest

from sagaline.orchestrator.kernel import decide_entity
from sagaline.orchestrator.messages.entities import Entity, Parcel, ParcelStatus
from sagaline.orchestrator.messages.inputs import Arrival, Message, TimerFired
from sagaline.orchestrator.messages.outputs import Answer, Forward
from sagaline.orchestrator.messages.parcels import (
    ATTEMPT,
    RELEASE,
    SOURCE,
    Handled,
    Posted,
    Redrive,
    RetryPolicy,
    Source,
    parcel_id,
    parked_letter,
)
from sagaline.orchestrator.messages.reasons import ReasonCode

COUNT = 3
FAILS = ({0}, {0, 1}, {1}, {0, 2}, {2})
"""Messages whose handling from the source fails, each time."""
ID = parcel_id("g", b"k")
RETRY = RetryPolicy(max_attempts=2, first_ms=0, factor=1.0, most_ms=0)
NOW_MS = 1_000

Micro = tuple[str, object]


def place_of(offset: int) -> Source:
    return Source(topic="t", partition=0, offset=offset)


def letter(offset: int, *, failed: bool) -> Posted:
    return Posted(
        id=f"p{offset}",
        instance=ID,
        letter=parked_letter("g", place_of(offset), b"k", b"%d" % offset, ()),
        group="g",
        redeliver_to="again",
        redeliver_partition=0,
        retry=RETRY,
        error="boom" if failed else None,
        attempts=1 if failed else 0,
    )


def dropped(answer: Answer) -> Answer:
    """A planted mistake: a parcel that says nothing about a letter that it has had."""
    return replace(answer, actions=()) if answer.code is ReasonCode.DUPLICATE else answer


def as_decided(answer: Answer) -> Answer:
    return answer


class World(NamedTuple):
    """``effects``: successes in their order. ``micro``: what the worker still writes before it goes on.

    ``crashes``, ``failures`` (of redeliveries): how many may still happen.
    """

    crashes: int
    failures: int
    committed: int = 0
    marker: int | None = None
    inputs: tuple[Message, ...] = ()
    parcel: int = 0
    again: tuple[Micro, ...] = ()
    read: int = 0
    at: int = 0
    reads_at: int = 0
    parked: bool = False
    micro: tuple[Micro, ...] = ()
    effects: tuple[int, ...] = ()


@dataclass(slots=True)
class Explorer:
    """``decided``: answers by parcel and message, since most states share them."""

    fails: frozenset[int]
    twisted: Callable[[Answer], Answer] = as_decided
    parcels: list[Entity | None] = field(default_factory=lambda: [None])
    decided: dict[tuple[int, Message], tuple[int, tuple[Micro, ...]]] = field(default_factory=dict)

    def wrong(self, begin: World) -> str | None:
        todo, seen = deque([begin]), {begin}
        while todo:
            world = todo.popleft()
            nexts = list(self.steps(world))
            if not nexts and not self.is_quiet(world):
                return f"stuck: {world}, {self.parcels[world.parcel]}"
            for following in nexts:
                first = list(dict.fromkeys(following.effects))
                if first != list(range(len(first))):
                    return f"order broken: {following.effects} after {world}"
                if following not in seen:
                    seen.add(following)
                    todo.append(following)
        return None

    def is_quiet(self, world: World) -> bool:
        parcel = self.parcels[world.parcel]
        empty = parcel is None or (isinstance(parcel, Parcel) and parcel.status is ParcelStatus.RELEASED)
        return set(world.effects) == set(range(COUNT)) and world.committed == COUNT and empty and world.marker is None

    def steps(self, world: World) -> Iterator[World]:
        yield from self.writes(world) if world.micro else self.reads(world)
        if world.crashes:
            marked = world.marker is not None
            yield world._replace(
                at=world.committed, reads_at=world.read, parked=marked, micro=(), crashes=world.crashes - 1
            )
        yield from self.decisions(world)

    def writes(self, world: World) -> Iterator[World]:
        (kind, what), rest = world.micro[0], world._replace(micro=world.micro[1:])
        match kind, what:
            case "marker", (None | int()) as marker:
                yield rest._replace(marker=marker)
            case "commit", int() as at:
                yield rest._replace(committed=max(rest.committed, at))
            case "read", int() as at:
                yield rest._replace(read=max(rest.read, at))
            case "tell", (Posted() | Handled()) as message:
                yield rest._replace(inputs=(*rest.inputs, message))

    def reads(self, world: World) -> Iterator[World]:
        at = world.at
        if at < COUNT:
            if world.parked or at in self.fails:
                told = letter(at, failed=not world.parked)
                micro: tuple[Micro, ...] = (("marker", at), ("tell", told), ("commit", at + 1))
                yield world._replace(at=at + 1, parked=True, micro=micro)
            else:
                yield world._replace(at=at + 1, micro=(("commit", at + 1),), effects=(*world.effects, at))
        if world.reads_at < len(world.again):
            yield from self.redelivered(world, *world.again[world.reads_at])

    def redelivered(self, world: World, kind: str, what: object) -> Iterator[World]:
        after, done = world._replace(reads_at=world.reads_at + 1), ("read", world.reads_at + 1)
        match kind, what:
            case "release", int() as last:
                released = world.marker is not None and last >= world.marker
                marker: tuple[Micro, ...] = (("marker", None),) if released else ()
                yield after._replace(parked=after.parked and not released, micro=(*marker, done))
            case "letter", (int() as offset, int() as attempt):
                handled = Handled(id="h", instance=ID, source=place_of(offset), attempt=attempt, ok=True)
                yield after._replace(micro=(("tell", handled), done), effects=(*after.effects, offset))
                if world.failures:
                    failed = replace(handled, ok=False, error="boom")
                    yield after._replace(micro=(("tell", failed), done), failures=world.failures - 1)

    def decisions(self, world: World) -> Iterator[World]:
        parcel = self.parcels[world.parcel]
        if world.inputs:
            yield self.decide(world._replace(inputs=world.inputs[1:]), world.inputs[0])
        if isinstance(parcel, Parcel):
            if (due_ms := parcel.timers.get("retry")) is not None:
                yield self.decide(world, TimerFired(id="t", instance=ID, timer="retry", due_ms=due_ms))
            if parcel.status is ParcelStatus.PARKED:
                yield self.decide(world, Redrive(id=f"r{parcel.attempts}", instance=ID))

    def decide(self, world: World, message: Message) -> World:
        known = (world.parcel, message)
        if known not in self.decided:
            answer = self.twisted(decide_entity(self.parcels[world.parcel], Arrival(message=message, now_ms=NOW_MS)))
            after = replace(answer.entity, revision=0) if answer.entity is not None else None
            if after not in self.parcels:
                self.parcels.append(after)
            sent = tuple(micro_of(each) for each in answer.actions if isinstance(each, Forward))
            self.decided[known] = self.parcels.index(after), sent
        parcel, sent = self.decided[known]
        return world._replace(parcel=parcel, again=(*world.again, *sent))


def micro_of(forward: Forward) -> Micro:
    headers = dict(forward.headers)
    if RELEASE in headers:
        return "release", int(headers[RELEASE])
    return "letter", (int(headers[SOURCE].rpartition(b"/")[2]), int(headers[ATTEMPT]))


@pytest.mark.parametrize("begin", [World(crashes=2, failures=0), World(crashes=1, failures=1)], ids=["crash", "fail"])
@pytest.mark.parametrize("fails", FAILS, ids=str)
def test_a_key_that_fails_is_handled_in_order_and_released_whatever_happens(fails: set[int], begin: World) -> None:
    assert Explorer(frozenset(fails)).wrong(begin) is None


def test_the_model_finds_a_parcel_that_does_not_answer_duplicates() -> None:
    """The worker crashed before it read the release and waits for another: the key would stay parked."""
    found = Explorer(frozenset({2}), dropped).wrong(World(crashes=2, failures=0))
    assert found is not None
    assert found.startswith("stuck")
