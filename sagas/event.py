"""Events: something that happened, published under a key to all instances that wait for it."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from pydantic import BaseModel

from .contract import check_name
from .errors import DefinitionError
from .given import check_is, check_span
from .schemas import check_json_model

__all__ = ["Event", "check_in_and_out"]

E = TypeVar("E", bound=BaseModel)


@dataclass(frozen=True)
class Event(Generic[E]):
    """A kind of event: its name on the wire and the model of its body.

    Args:
        name: the event's type; unique within a namespace.
        model: pydantic model of the body.
        keep: how long an event is kept for instances that start to wait for it later.

    Raises:
        DefinitionError: an invalid name, a model that cannot be sent as JSON, or a span that is not positive; the
            author must fix it.
    """

    name: str
    model: type[E]
    _: KW_ONLY
    keep: timedelta = timedelta(days=1)

    def __post_init__(self) -> None:
        check_name("event", self.name)
        check_json_model(f"event {self.name!r}: its body", self.model, enters=True)
        check_span(f"event {self.name!r}: keep", self.keep)


def check_in_and_out(at: str, of: object, emits: object) -> None:
    """Raises DefinitionError unless a gathering takes one event and publishes another."""
    for what, event in (("of", of), ("emits", emits)):
        check_is(f"{at}: {what}", event, Event, "give an Event(name, model)")
    if isinstance(of, Event) and isinstance(emits, Event) and of.name == emits.name:
        raise DefinitionError(f"{at}: it takes event {of.name!r} and publishes it too; give emits= another event")
