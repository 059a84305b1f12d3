"""What the tests of helper entities share: one entity, told one message after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sagaline.orchestrator.kernel import Limits, decide_helper
from sagaline.orchestrator.messages.helpers import Helper
from sagaline.orchestrator.messages.inputs import Arrival, Message
from sagaline.orchestrator.messages.outputs import Answer, Tell

__all__ = ["Told", "told"]


@dataclass
class Told:
    """A helper entity and the answer to the last message."""

    entity: Helper | None = None
    limits: Limits = field(default_factory=Limits)
    branches: Sequence[str] = ("post", "truck", "ship", "yes", "no")

    def hear(self, message: Message, now_ms: int = 1_000, subscribers: Sequence[str] = ()) -> Answer:
        """A message arrives; what it does is pure, so the same message to the same entity gives the same answer."""
        arrival = Arrival(message=message, now_ms=now_ms)
        answer = decide_helper(self.entity, arrival, self.limits, subscribers, self.branches)
        assert decide_helper(self.entity, arrival, self.limits, subscribers, self.branches) == answer
        self.entity = answer.entity
        return answer


def told(answer: Answer) -> list[Message]:
    """What it says to others."""
    return [action.message for action in answer.actions if isinstance(action, Tell)]
