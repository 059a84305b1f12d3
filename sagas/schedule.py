"""``Schedule``: starts a definition, or publishes an event, at the times of a cron expression or an interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from .calendar import Calendar
from .contract import check_name
from .definition import Definition
from .errors import DefinitionError
from .event import Event
from .given import check_choice, check_is, check_span, check_text
from .models import JsonObject, Unwritable, as_json, first_mistake, read_foreign, unknown_fields
from .policy import to_ms
from .process_manager import ProcessManager

__all__ = ["CATCH_UP", "KEY", "CatchUp", "Schedule"]

S = TypeVar("S", bound=BaseModel)

CatchUp: TypeAlias = Literal["skip", "once", "all"]
CATCH_UP: Final = ("skip", "once", "all")
KEY: Final = "{schedule}-{due}"
"""The default of ``key``."""
_SAMPLE_MS: Final = 1_767_225_600_000


@dataclass(frozen=True)
class Schedule(Generic[S]):
    """At each due time one instance is started, or one event published; exactly once across crashes, restarts and
    clocks set back. It is in effect once it is put: ``saga schedules apply``, ``client.schedules.put``, ``saga dev``.

    Args:
        name: its identity in a namespace.
        starts: the definition to start, or the event to publish; a process manager is started by its event.
        input: the first value of the state, or the body of the event; as a model or as JSON.
        cron: ``minute hour day-of-month month day-of-week``; six fields begin with seconds.
        every: an interval from 1 second to 366 days, counted from 1970 in UTC: ``every`` an hour is due on the hour.
        zone: the time zone of ``cron``, an IANA name.
        key: of the instance or event: a text with ``{schedule}`` and ``{due}`` (UTC). Without ``{due}`` all due times
            have one key: while its instance exists (it runs, or is retained), the next start is denied.
        due_into: the field of the input that is set to the due time, as ISO 8601 in the zone.
        catch_up: of due times that no engine has decided in time: ``skip`` all, start only the newest ``once``, or
            ``all``.
        grace: a due time that is at most this late is in time.
        jitter: each start is delayed by up to this, though not to the next due time, by an amount that depends on name
            and due time. A pause ends the delay.

    Raises:
        DefinitionError: an argument is wrong; the message says which, and shows a right one.
    """

    name: str
    starts: Definition[S] | Event[S]
    input: S | Mapping[str, JsonValue]
    _: KW_ONLY
    cron: str | None = None
    every: timedelta | None = None
    zone: str = "UTC"
    key: str = KEY
    due_into: str | None = None
    catch_up: CatchUp = "once"
    grace: timedelta = timedelta(minutes=1)
    jitter: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        what = f"schedule {self.name!r}"
        check_name("schedule", self.name)
        if isinstance(self.starts, ProcessManager):
            events = [name for name, each in self.starts.subscriptions.items() if each.starts is not None]
            raise DefinitionError(f"{what}: a process manager is started by its events; give {' or '.join(events)}")
        check_is(f"{what}: starts", self.starts, Definition | Event, "give a Saga, a RoutingSlip or an Event")  # type: ignore[arg-type]  # isinstance takes unions
        if self.cron is not None:
            check_text(f"{what}: cron", self.cron)
        if self.every is not None:
            check_span(f"{what}: every", self.every)
        check_text(f"{what}: zone", self.zone)
        check_text(f"{what}: key", self.key)
        check_choice(f"{what}: catch_up", self.catch_up, CATCH_UP)
        check_span(f"{what}: grace", self.grace, zero=True)
        check_span(f"{what}: jitter", self.jitter, zero=True)
        if (wrong := self.calendar.wrong()) is not None:
            raise DefinitionError(f"{what}: {wrong}")
        self._check_input(what)

    @property
    def calendar(self) -> Calendar:
        """When it is due."""
        return Calendar(cron=self.cron, every_ms=None if self.every is None else to_ms(self.every), zone=self.zone)

    @property
    def model(self) -> type[S]:
        """The model of the input."""
        return self.starts.model if isinstance(self.starts, Event) else self.starts.state

    @property
    def body(self) -> JsonObject:
        """The input as JSON, without the due time."""
        return as_json(self.input) if isinstance(self.input, BaseModel) else dict(self.input)

    def _check_input(self, what: str) -> None:
        model: type[Any] = self.model
        try:
            body = self.body
            if self.due_into is not None:
                names = {*model.model_fields, *(each.alias for each in model.model_fields.values() if each.alias)}
                if self.due_into not in names:
                    raise DefinitionError(f"{what}: due_into is {self.due_into!r}; give a field of {model.__name__}")
                body |= {self.due_into: self.calendar.local(_SAMPLE_MS)}
            read_foreign(model, body, extra=unknown_fields(model))
        except ValidationError as error:
            where, wrong = first_mistake(error)
            raise DefinitionError(f"{what}: its input does not fit {model.__name__}: {where}: {wrong}") from error
        except Unwritable as error:
            raise DefinitionError(f"{what}: its input: {error}") from error
