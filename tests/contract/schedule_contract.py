"""What schedules promise on any log: each due time starts one instance, also when engines stop and come back."""

from __future__ import annotations

import uuid
from datetime import timedelta

from sagaline.orchestrator.client.schedules import planned
from sagaline.orchestrator.codec.documents import decode_history
from sagaline.orchestrator.codec.entities import encode_entity_message
from sagaline.orchestrator.messages.history import HistoryRecord
from sagaline.orchestrator.messages.inputs import Start
from sagaline.orchestrator.messages.schedules import Backfill, PutSchedule, StartDecided, ToSchedule, schedule_id
from sagaline.orchestrator.ports.log import Log
from sagaline.sagas import Schedule
from tests.engine_world import HandClock, Note, World, two_steps, world

__all__ = ["ScheduleContract"]

HOUR_MS = 3_600_000
BEGIN_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
ID = schedule_id("hourly")


async def tell(w: World, message: ToSchedule) -> None:
    await w.log.append([encode_entity_message(w.topics.inputs, message, source="/test", now_ms=0, traceparent=None)])


async def told(w: World, hour: int, request: str = "") -> None:
    """Waits until the schedule knows what was decided about the start of an hour."""
    start = f"{ID}/{request}2026-01-01T{hour:02}:00:00Z"

    def is_it(record: HistoryRecord) -> bool:
        return isinstance(record.message, StartDecided) and record.message.start == start

    await w.decided(ID, is_it)


class ScheduleContract:
    async def test_each_due_time_starts_one_instance_although_the_engine_stops(self, log: Log) -> None:
        clock, sagas, namespace = HandClock(BEGIN_MS), [two_steps()], f"s{uuid.uuid4().hex[:12]}"
        schedule = Schedule("hourly", sagas[0], Note(), every=timedelta(hours=1), due_into="text", catch_up="all")
        async with world(log, sagas, clock=clock, namespace=namespace) as w:
            await tell(w, PutSchedule(id="put", instance=ID, plan=planned(schedule)))
            await w.decided(ID, lambda record: record.revision == 1)
            clock.at_ms = BEGIN_MS + HOUR_MS
            await told(w, 1)
        clock.at_ms = BEGIN_MS + 3 * HOUR_MS + 5
        async with world(log, sagas, clock=clock, namespace=namespace) as w:
            await told(w, 3)
            await tell(w, Backfill(id="b", instance=ID, from_ms=BEGIN_MS, to_ms=BEGIN_MS + HOUR_MS))
            await told(w, 1, request="b/")
            records = [decode_history(each) for each in await w.everything(w.topics.history)]
            starts = [each for each in records if isinstance(each.message, Start)]
            applied = sorted(each.instance for each in starts if each.outcome == "applied")
            assert applied == [f"pair/hourly-2026-01-01T0{hour}:00:00Z" for hour in range(4)]
            assert len(starts) == 5  # the backfill of the first hour was a duplicate
            document = await w.document(applied[2])
            assert document is not None
            assert document.state["text"] == "2026-01-01T02:00:00Z"
