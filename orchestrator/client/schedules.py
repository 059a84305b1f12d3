"""``Schedules``: puts, shows and operates schedules at run time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from ...sagas.contract import is_name
from ...sagas.event import Event
from ...sagas.policy import to_ms
from ...sagas.schedule import Schedule as Declared
from ..errors import InvalidRequest, TransientError, UnknownDefinition, UnknownEvent, UnknownSchedule
from ..kernel import Limits
from ..kernel.schedule import due_times, plan_wrong
from ..messages.entities import Schedule
from ..messages.schedules import (
    SCHEDULE,
    Backfill,
    DeleteSchedule,
    PauseSchedule,
    Plan,
    PutSchedule,
    ResumeSchedule,
    ScheduleRequest,
    Trigger,
    schedule_id,
)
from ..ports.read_model import EntityFilter, HistoryRow
from .asking import Asking, EntityChanged
from .checks import check_json, check_time
from .entities import EntitiesPage
from .options import PLAIN, RequestOptions, told
from .parts import ClientParts

__all__ = ["Schedules", "planned"]


def planned(declared: Declared[Any]) -> Plan:
    """What a declaration says, as a schedule keeps it.

    Raises:
        InvalidRequest: its input is not JSON.
    """
    starts = declared.starts
    return Plan(
        definition="" if isinstance(starts, Event) else starts.name,
        event=starts.name if isinstance(starts, Event) else "",
        keep_ms=to_ms(starts.keep) if isinstance(starts, Event) else 0,
        input=check_json(declared.input, "input"),
        calendar=declared.calendar,
        key=declared.key,
        due_into=declared.due_into or "",
        catch_up=declared.catch_up,
        grace_ms=to_ms(declared.grace),
        jitter_ms=to_ms(declared.jitter),
    )


class Schedules:
    """All schedules of the namespace; what is shown includes the last request by this client.

    A request is decided through the log and answered when it is. It may be repeated with the same ``request_id``. Each
    raises ``UnknownSchedule``, ``ActDenied`` (not possible now), and ``InvalidRequest``, ``NotYetDecided``,
    ``LogUnavailable``, ``ValueTooLarge`` as ``Client.start``.
    """

    def __init__(self, parts: ClientParts, asking: Asking) -> None:
        self._parts, self._asking = parts, asking

    async def put(self, schedule: Declared[Any], options: RequestOptions = PLAIN) -> EntityChanged:
        """Creates a schedule, or replaces what it does; the first due time is the next one from now on. A schedule that
        is paused stays so.

        Args:
            schedule: the declaration.
            options: see ``RequestOptions``.

        Raises:
            UnknownDefinition, UnknownEvent: it starts what is not deployed here.
        """
        registry = self._parts.registry
        if not isinstance(schedule.starts, Event):
            if registry.find(schedule.starts.name) is None:
                raise UnknownDefinition(schedule.starts.name, registry.names)
        elif schedule.starts.name not in (known := {each.name for deployed in registry for each in deployed.events}):
            raise UnknownEvent(schedule.starts.name, tuple(sorted(known)))
        plan = planned(schedule)
        if (wrong := plan_wrong(schedule.name, plan, Limits())) is not None:
            raise InvalidRequest(wrong, field="schedule")
        said = told(options, self._parts.clock)
        id = schedule_id(schedule.name)
        return await self._ask(PutSchedule(id=said.id, instance=id, plan=plan, by=said.by, reason=said.reason), options)

    async def get(self, name: str) -> Schedule:
        """A schedule: its plan, how far it is, its last starts and their outcomes.

        Raises:
            UnknownSchedule: there is none of that name.
            TransientError: the read model has not caught up yet, or does not answer.
        """
        await self._asking.settled()
        if not await self._asking.followed(id := _id(name)):
            raise TransientError(f"schedule {name!r} was changed but cannot be read yet: the read model is behind")
        found = await self._parts.read_model.entity(id)
        if not isinstance(found, Schedule):
            raise UnknownSchedule(name)
        return found

    async def list(
        self, *, paused: bool | None = None, limit: int = 50, cursor: str | None = None
    ) -> EntitiesPage[Schedule]:
        """Schedules by name.

        Args:
            paused: only those that are paused, or are not; None: all.
            limit: the largest number per page.
            cursor: from the page before.

        Raises:
            InvalidRequest: the cursor is not valid.
            TransientError: the read model has not caught up yet, or does not answer.
        """
        await self._asking.all_followed()
        status = None if paused is None else "paused" if paused else "active"
        page = await self._parts.read_model.entities(EntityFilter(SCHEDULE, status), limit=limit, cursor=cursor)
        return EntitiesPage([each for each in page.entities if isinstance(each, Schedule)], page.cursor)

    def upcoming(self, schedule: Schedule, count: int = 5) -> Sequence[int]:
        """The next due times from now on, milliseconds since epoch; none while it is paused."""
        return list(islice(due_times(schedule, self._parts.clock.now_ms()), count))

    async def pause(self, name: str, options: RequestOptions = PLAIN) -> EntityChanged:
        """Stops a schedule until ``resume``. Due times that pass meanwhile start nothing; ``backfill`` can do it."""
        said = told(options, self._parts.clock)
        request = PauseSchedule(id=said.id, instance=_id(name), by=said.by, reason=said.reason)
        return await self._ask(request, options)

    async def resume(self, name: str, options: RequestOptions = PLAIN) -> EntityChanged:
        """Lets a paused schedule go on with the next due time from now on."""
        said = told(options, self._parts.clock)
        request = ResumeSchedule(id=said.id, instance=_id(name), by=said.by, reason=said.reason)
        return await self._ask(request, options)

    async def trigger(self, name: str, options: RequestOptions = PLAIN) -> EntityChanged:
        """Starts one instance now, besides the due times; also while it is paused. Its due time is now."""
        said = told(options, self._parts.clock)
        request = Trigger(id=said.id, instance=_id(name), by=said.by, reason=said.reason)
        return await self._ask(request, options)

    async def backfill(
        self, name: str, since: datetime, until: datetime, options: RequestOptions = PLAIN
    ) -> EntityChanged:
        """Starts an instance for each due time of a past period. Those that still have their instance are not started
        again.

        Args:
            name: of the schedule.
            since: the beginning, with a time zone; included.
            until: the end, with a time zone, not in the future; included. At most 1,000 due times lie between.
            options: see ``RequestOptions``.
        """
        said = told(options, self._parts.clock)
        request = Backfill(
            id=said.id,
            instance=_id(name),
            from_ms=check_time(since, "since"),
            to_ms=check_time(until, "until"),
            by=said.by,
            reason=said.reason,
        )
        return await self._ask(request, options)

    async def delete(self, name: str, options: RequestOptions = PLAIN) -> EntityChanged:
        """Ends a schedule; what it has started goes on."""
        said = told(options, self._parts.clock)
        request = DeleteSchedule(id=said.id, instance=_id(name), by=said.by, reason=said.reason)
        return await self._ask(request, options)

    async def history(self, name: str, *, after: int = -1, limit: int = 100) -> Sequence[HistoryRow]:
        """Every request, start and outcome with a sequence above ``after``, oldest first.

        Raises:
            TransientError: the read model does not answer.
        """
        await self._asking.settled()
        await self._asking.followed(id := _id(name))
        return await self._parts.read_model.history(id, after=after, limit=limit)

    async def _ask(self, request: ScheduleRequest, options: RequestOptions) -> EntityChanged:
        act, name = request.kind.removesuffix("_schedule"), request.instance.removeprefix(SCHEDULE)
        return await self._asking.carried_out(
            request, options, act=act, field="schedule", unknown=lambda: UnknownSchedule(name)
        )


def _id(name: str) -> str:
    if not is_name(name):
        raise UnknownSchedule(name[:300])
    return schedule_id(name)
