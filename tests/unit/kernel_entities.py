"""What the tests of entities share: one entity, told one message after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sagaline.orchestrator.kernel import Limits, decide_entity
from sagaline.orchestrator.messages.entities import Entity
from sagaline.orchestrator.messages.inputs import Arrival, Message
from sagaline.orchestrator.messages.outputs import Answer, Outcome, Tell

__all__ = ["Told", "told"]


@dataclass
class Told:
    """An entity and the answer to the last message."""

    entity: Entity | None = None
    limits: Limits = field(default_factory=Limits)
    branches: Sequence[str] = ("post", "truck", "ship", "yes", "no")

    def hear(self, message: Message, now_ms: int = 1_000, subscribers: Sequence[str] = ()) -> Answer:
        """A message arrives. It is decided twice, and what is not applied leaves the entity alone."""
        arrival, before = Arrival(message=message, now_ms=now_ms), self.entity
        answer = decide_entity(before, arrival, self.limits, subscribers, self.branches)
        assert decide_entity(before, arrival, self.limits, subscribers, self.branches) == answer, "it is not pure"
        if answer.outcome is not Outcome.APPLIED:
            assert answer.entity == before, f"{answer.outcome} must leave the entity alone"
            assert answer.code is not None, "no program can tell why"
        self.entity = answer.entity
        return answer


def told(answer: Answer) -> list[Message]:
    """What it says to others."""
    return [action.message for action in answer.actions if isinstance(action, Tell)]
