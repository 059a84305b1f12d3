"""Generates workers from a seed: the behaviour of each contract's handler, and the ledger of effects.

A rejection depends on the effect key, so that a command that arrives twice is answered the same; all else may differ
the next time. After healing, all handlers succeed, except those that reject.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel

from sagaline.orchestrator.scenes.sample import samples
from sagaline.sagas import Contract, Rejected
from sagaline.sagas.definition import AnyDefinition
from sagaline.sagas.models import read_foreign
from sagaline.workers import Context, Inbox, Worker

from .parts import Told
from .slips import Turned

__all__ = ["LEDGER", "Effect", "Minds"]

LEDGER: Final = """
CREATE TABLE effects (seq INTEGER PRIMARY KEY, effect_key TEXT NOT NULL, undo INTEGER NOT NULL, had INTEGER NOT NULL);
"""
"""One row per effect, in the inbox's database. No constraint prevents a second one: the laws check for it."""

_INSERT: Final = "INSERT INTO effects (effect_key, undo, had) VALUES (?, ?, ?)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A row of the ledger. ``had``: for an undo, whether there was anything to undo."""

    effect_key: str
    undo: bool
    had: bool


class Mood(StrEnum):
    """How a handler behaves."""

    WILLING = "willing"
    UNWILLING = "unwilling"
    FLAKY = "flaky"
    SLOW = "slow"
    SILENT = "silent"
    CRASHING = "crashing"
    WRONG = "wrong"


_DO: Final = (
    *(Mood.WILLING,) * 9,
    *(Mood.UNWILLING, Mood.UNWILLING, Mood.FLAKY, Mood.FLAKY, Mood.SLOW, Mood.SLOW, Mood.SILENT, Mood.CRASHING),
    Mood.WRONG,
)
_UNDO: Final = (
    *(Mood.WILLING,) * 8,
    *(Mood.FLAKY, Mood.FLAKY, Mood.SLOW, Mood.SLOW, Mood.SILENT, Mood.CRASHING, Mood.UNWILLING, Mood.UNWILLING),
)


class Minds:
    """All handlers of one world.

    Args:
        seed: of all draws.
        patient: False: no handler is silent; for definitions with timeouts of an hour.
    """

    def __init__(self, seed: int, definitions: Iterable[AnyDefinition], *, patient: bool = True) -> None:
        self._seed, self._patient = seed, patient
        self._calls: Counter[tuple[str, bool]] = Counter()
        self._uneven_seconds = 0.0
        self.healed = False
        self._by_queue: dict[str, dict[str, tuple[Contract[Any, Any], Mood]]] = {}
        drawn = random.Random(f"{seed}/minds")
        self._uneven_seconds = drawn.choice((0.0, 0.05, 0.4))
        undo = (*_UNDO, *(Mood.UNWILLING,) * 8) if drawn.random() < 0.2 else _UNDO
        for definition in definitions:
            for step in definition.steps.values():
                self._add(step.contract, drawn, _DO)
                if step.compensation is not None:
                    self._add(step.compensation.contract, drawn, undo)

    @property
    def queues(self) -> list[str]:
        return sorted(self._by_queue)

    @property
    def calls(self) -> int:
        """The number of handler calls."""
        return self._calls.total()

    def worker(self, queue: str, inbox: Inbox) -> Worker:
        """A worker for everything on a queue."""
        made = Worker(queue, inbox=inbox, concurrency=8)
        for contract, mood in self._by_queue[queue].values():
            made.handles(contract)(self._handler(contract, mood))
        return made

    def _add(self, contract: Contract[Any, Any], drawn: random.Random, moods: tuple[Mood, ...]) -> None:
        on_queue = self._by_queue.setdefault(contract.queue, {})
        if contract.name not in on_queue:
            mood = drawn.choice(moods)
            on_queue[contract.name] = contract, Mood.FLAKY if mood is Mood.SILENT and not self._patient else mood

    def _handler(
        self, contract: Contract[Any, Any], mood: Mood
    ) -> Callable[[BaseModel, Context], Awaitable[BaseModel | Rejected]]:
        async def handle(command: BaseModel, ctx: Context) -> BaseModel | Rejected:
            key = ctx.effect_key, ctx.undo
            self._calls[key] += 1
            drawn = random.Random(f"{self._seed}/{ctx.effect_key}/{ctx.undo}")
            answer, often = drawn.random(), drawn.randint(1, 2)
            if self._uneven_seconds:
                await asyncio.sleep(drawn.random() * self._uneven_seconds)
            ctx.execute(_INSERT, (ctx.effect_key, ctx.undo, ctx.forward is not None))
            if mood is Mood.UNWILLING and answer < 0.5 and not (self.healed and ctx.undo):
                return Rejected("it will not do that", code="unwilling")
            if not self.healed:
                wrong = await _misbehaves(mood, answer, ctx, first=self._calls[key] <= often)
                if wrong is not None:
                    return wrong
            return _reply(contract, drawn)

        return handle


async def _misbehaves(mood: Mood, answer: float, ctx: Context, *, first: bool) -> BaseModel | None:
    match mood:
        case Mood.FLAKY if first:
            raise RuntimeError("it is not in the mood")
        case Mood.SLOW:
            for part in range(4):
                ctx.heartbeat({"part": part, "before": (ctx.progress or {}).get("part")})
                await asyncio.sleep(answer / 2)
        case Mood.SILENT if answer < 0.6:
            await asyncio.sleep(3_600)
        case Mood.CRASHING if first and answer < 0.3:
            raise SystemExit(1)
        case Mood.WRONG if first and answer < 0.5:
            return _Wrong()
        case _:
            pass
    return None


def _reply(contract: Contract[Any, Any], drawn: random.Random) -> BaseModel:
    if contract.reply is Turned:
        onward = drawn.choice((None, None, ["step-2"], ["step-1", "step-2"], []))
        return Turned(number=drawn.randint(0, 3), onward=onward)
    if contract.reply is Told:
        return Told(number=drawn.randint(0, 3))
    made: BaseModel = read_foreign(contract.reply, samples(contract.reply)[0])
    return made


class _Wrong(BaseModel):
    """Not the reply of any contract."""
