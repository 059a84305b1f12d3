"""Schedules: the input has the type of the definition's state, or of the event's body; a marked line is an error."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel

from sagaline.sagas import Event, Saga, Schedule

from .shared import Checkout, Returns

HOUR = timedelta(hours=1)


class Opened(BaseModel):
    day: str


opens = Event("opens", Opened)
checkout = Saga("checkout", Checkout, flow=[])
order = Checkout(order_id="1", total=1)

by_model: Schedule[Checkout] = Schedule("a", checkout, order, every=HOUR)
by_json: Schedule[Checkout] = Schedule("b", checkout, {"order_id": "1", "total": 1}, cron="0 * * * *", catch_up="all")
of_event: Schedule[Opened] = Schedule("c", opens, Opened(day="monday"), cron="0 0 * * MON", zone="Europe/Berlin")

other_state: Schedule[Checkout] = Schedule("d", checkout, Returns(parcel="1"), every=HOUR)  # expect: error
other_body: Schedule[Opened] = Schedule("e", opens, order, every=HOUR)  # expect: error
Schedule("f", checkout, order, every=3_600)  # expect: error (a number is no span)
Schedule("g", checkout, order, every=HOUR, catch_up="never")  # expect: error (no such policy)
Schedule("h", "checkout", order, every=HOUR)  # expect: error (a name is no definition)
