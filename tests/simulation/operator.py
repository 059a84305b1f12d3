"""An operator who resolves attention, and a person who answers questions; both read documents.

During the storm they act sometimes. After healing they continue until nothing is left to do: first they retry an
instance, then skip steps or waive undos that do not succeed, and finally abandon it. Sometimes they fix something by
hand in between (``repairs.py``).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.kernel.deferral import waits_for_code
from sagaline.orchestrator.kernel.inspection import inspect
from sagaline.orchestrator.kernel.places import name_of
from sagaline.orchestrator.messages.document import CauseKind, Document, Status, StepStatus
from sagaline.orchestrator.messages.inputs import Act, ActName
from sagaline.orchestrator.messages.values import JsonObject
from sagaline.orchestrator.ports.clock import Clock
from sagaline.orchestrator.scenes.sample import samples
from sagaline.sagas import Step

from .agenda import BAD, Request, good_rules
from .invent import PEOPLE, TABLES
from .parts import Told
from .repairs import Repairs
from .witness import Window

__all__ = ["Operator"]

_TRIES: Final = 2
"""The number of retries of an instance before anything is skipped."""
_SEQUENCE: Final = "sorter/"
_PATIENCE: Final = 12
"""After this many rounds a sequence that waits for a number is cancelled."""
_ACTS_MAX: Final = 30
"""After this many acts an instance may stay in attention."""


class Operator:
    """Reads documents through a window and sends acts.

    Args:
        send: sends a request until the log has accepted it.
        repairs: draws fixes by hand.
    """

    def __init__(
        self,
        window: Window,
        registry: Registry,
        clock: Clock,
        send: Callable[[Request], Awaitable[None]],
        repairs: Repairs,
    ) -> None:
        self._window, self._registry, self._clock, self._send = window, registry, clock, send
        self._repairs = repairs
        self._acts: Counter[str] = Counter()
        self._waits: Counter[str] = Counter()
        self.healed = False

    @property
    def settled(self) -> bool:
        """True when every instance has ended, or is in attention after all possible acts."""
        return all(
            Status(status).is_final or (status == Status.ATTENTION and self._acts[id] >= _ACTS_MAX)
            for id, status in self._window.statuses().items()
        )

    async def act(self, drawn: random.Random) -> None:
        """One round."""
        for id, status in self._window.statuses().items():
            if not self._window.knows(id):
                continue  # it was removed while another one was processed
            if self._repairs.wants(id, Status(status)):
                asked = self._repairs.act(self._window.document(id))
                if asked is not None:
                    for _ in range(1 + self._repairs.again()):
                        await self._send(asked)
                    continue
            if Status(status).is_final or (not self.healed and drawn.random() < 0.6):
                continue
            if status == Status.ATTENTION:
                document = self._window.document(id)
                if self._acts[id] < _ACTS_MAX and not self._goes_on_by_itself(document):
                    await self._settle(document, drawn)
            elif self.healed and id.startswith(_SEQUENCE):
                self._waits[id] += 1
                if self._waits[id] > _PATIENCE:
                    await self._ask(id, ActName.CANCEL)
            elif self.healed and self._window.holds(id, b'"paused":true'):
                await self._ask(id, ActName.RESUME)
            elif self._window.holds(id, b'"question":'):
                await self._answer(self._window.document(id))

    def _goes_on_by_itself(self, document: Document) -> bool:
        """True when it waits only for its code, which will accept its input."""
        return waits_for_code(document) and not (self.healed and document.key.startswith(BAD))

    async def _settle(self, document: Document, drawn: random.Random) -> None:
        attention = document.attention
        if attention is not None and attention.kind is CauseKind.ROUTE:
            for table in TABLES:
                await self._send(good_rules(table, self._clock.new_id))
        tried = self._acts[document.id]
        place = attention.step if attention is not None else None
        can_cancel = ActName.CANCEL in inspect(None, document).acts
        if tried < _TRIES:
            await self._ask(document.id, ActName.CANCEL if can_cancel and drawn.random() < 0.3 else ActName.RETRY)
        elif failing := [at for at, record in document.steps.items() if record.status is StepStatus.UNDO_FAILED]:
            for at in failing:
                await self._ask(document.id, ActName.WAIVE, step=at, reason="written off")
        elif place is not None and self._can_skip(document, place) and tried < _ACTS_MAX // 2:
            await self._ask(document.id, ActName.SKIP, step=place, value=self._reply(document, place))
        elif can_cancel and tried % 2:
            await self._ask(document.id, ActName.CANCEL)
        else:
            await self._ask(document.id, ActName.ABANDON)

    def _can_skip(self, document: Document, place: str) -> bool:
        definition = self._registry.find(document.definition, document.version)
        record = document.steps.get(place)
        return (
            definition is not None
            and record is not None
            and record.status.is_stuck
            and not document.backward
            and name_of(place) in definition.steps
        )

    def _reply(self, document: Document, place: str) -> JsonObject:
        definition = self._registry.find(document.definition, document.version)
        assert definition is not None
        step: Step[object] = definition.steps[name_of(place)]  # type: ignore[type-var]  # whatever state
        if step.contract.reply is Told:
            return {"number": 3}
        reply: JsonObject = samples(step.contract.reply)[0]
        return reply

    async def _answer(self, document: Document) -> None:
        for place, record in document.steps.items():
            if record.status is StepStatus.WAITING and "question" in (record.memo or {}):
                await self._ask(document.id, ActName.ANSWER, step=place, value={"yes": True}, by=PEOPLE[0])

    async def _ask(
        self,
        instance: str,
        act: ActName,
        *,
        step: str = "",
        value: JsonObject | None = None,
        by: str = "operator",
        reason: str = "",
    ) -> None:
        if act is not ActName.ANSWER:
            self._acts[instance] += 1
        id = self._clock.new_id()
        await self._send(Act(id=id, instance=instance, act=act, by=by, step=step, value=value, reason=reason))
