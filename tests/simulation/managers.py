"""Generates a process manager from a seed: three phases, each of which always ends."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta

from sagaline.sagas import Retry, Step, step
from sagaline.sagas.nodes import emit
from sagaline.sagas.process_manager import Next, ProcessManager

from .parts import EVENTS, FORWARD, UNDO, EventKey, Happened, Happens, Known, Looks

__all__ = ["STARTS_ON", "invent_manager"]

STARTS_ON = EVENTS[2]
"""The event that starts an instance."""


@dataclass(frozen=True)
class _Key:
    def __call__(self, e: Happened) -> str:
        return e.key


@dataclass(frozen=True)
class _Goes:
    """A handler's fixed result."""

    phase: str
    do: tuple[Step[Known], ...] = ()
    timer_ms: int = 0
    clears: bool = False
    ends: str = ""

    def next(self, state: Known | None) -> Next[Known]:
        announce = emit(EVENTS[1], Happens(7), key=EventKey(False), name="announce")
        if self.ends == "completes":
            return Next.complete(state, emit=[announce])
        if self.ends == "fails":
            return Next.fail("told so", state)
        timers = {"patience": timedelta(milliseconds=self.timer_ms)} if self.timer_ms else {}
        return Next(self.phase, state, do=self.do, timers=timers, clear=("patience",) if self.clears else ())


@dataclass(frozen=True)
class _Starts:
    goes: _Goes

    def __call__(self, e: Happened) -> Next[Known]:
        return self.goes.next(Known(key=e.key, size=e.number))


@dataclass(frozen=True)
class _Hears:
    goes: _Goes

    def __call__(self, s: Known, e: Happened) -> Next[Known]:
        return self.goes.next(s.model_copy(update={"h0": e}))


@dataclass(frozen=True)
class _Acts:
    goes: _Goes

    def __call__(self, s: Known) -> Next[Known]:
        return self.goes.next(None)


def invent_manager(drawn: random.Random, name: str) -> ProcessManager[Known]:
    """Started by ``STARTS_ON``, continued by another event, a step or a timer."""
    steps = [_step(drawn, number) for number in range(3)]
    manager = ProcessManager(name, Known, steps=steps, late=drawn.choice(("ignore", "dead_letter", "restart")))
    first: tuple[Step[Known], ...] = (steps[0],) if drawn.random() < 0.5 else ()
    patience_ms = drawn.randint(500, 4_000)
    manager.starts_on(STARTS_ON, key=_Key())(_Starts(_Goes("one", do=first, timer_ms=patience_ms)))
    longer_ms = drawn.randint(1_000, 5_000)
    manager.on(EVENTS[0], key=_Key(), when="one")(_Hears(_Goes("two", do=(steps[1],), timer_ms=longer_ms)))
    manager.on(EVENTS[0], key=_Key(), when="two")(_Hears(_Goes("two")))
    manager.on_timer("patience", when="two")(_Acts(_Goes("three", do=(steps[2],), clears=drawn.random() < 0.5)))
    late = _Goes("two", do=(steps[1],), timer_ms=longer_ms) if drawn.random() < 0.5 else _Goes("", ends="fails")
    manager.on_timer("patience", when="one")(_Acts(late))
    ends = drawn.choice(("completes", "completes", "fails", ""))
    after = _Goes("", ends=ends) if ends else _Goes("two")
    manager.on_done(steps[1], when="two")(_Acts(after))
    if drawn.random() < 0.5:
        manager.on_failed(steps[1], when="two")(_Acts(_Goes("three", do=(steps[2], steps[1]))))
    manager.on_done(steps[2], when="three")(_Acts(_Goes("", ends="completes")))
    return manager


def _step(drawn: random.Random, number: int) -> Step[Known]:
    note = f"act-{number}"
    retry = Retry(max_attempts=drawn.randint(1, 3), first_delay=timedelta(milliseconds=200))
    span = timedelta(milliseconds=drawn.randint(1_000, 4_000))
    made = step(FORWARD[number], into=f"r{number}", timeout=span, retry=retry, name=note)(Looks(note))
    if drawn.random() < 0.8:
        made.undo(UNDO[number], timeout=timedelta(seconds=4), retry=Retry(max_attempts=4))(Looks(note))
    return made
