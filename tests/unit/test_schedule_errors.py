"""Mistakes in schedules, as in ``test_language_errors``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from sagaline.sagas import DefinitionError, Event, Saga, Schedule
from sagaline.sagas.examples.order_fulfilment import order_fulfilment
from sagaline.sagas.nodes import sleep


class Report(BaseModel):
    kind: str = "sales"
    due: str = ""
    rate: float = 0.0


report = Saga("report", Report, flow=[sleep("nap", timedelta(seconds=1))])
DAILY = {"cron": "30 2 * * *"}


def declare(input: Any = Report(), /, name: str = "nightly", starts: Any = report, **more: Any) -> Callable[[], object]:  # noqa: B008  # never changed
    return lambda: Schedule(name, starts, input, **(DAILY | more))


SCHEDULE_MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "name": (
        declare(name="Nightly!"),
        "schedule 'Nightly!': a name is 1 to 64 of a-z, 0-9, '-' and '_' and begins with a letter; choose such a name",
    ),
    "manager": (
        declare(starts=order_fulfilment),
        "schedule 'nightly': a process manager is started by its events; give order-placed",
    ),
    "no definition": (
        declare(starts="report"),
        "schedule 'nightly': starts is 'report'; give a Saga, a RoutingSlip or an Event",
    ),
    "neither": (
        declare(cron=None),
        "schedule 'nightly': give exactly one of cron and every, such as cron='30 2 * * *' (02:30 every day) or every "
        "an hour",
    ),
    "hour": (
        declare(cron="0 25 * * *"),
        "schedule 'nightly': the cron expression '0 25 * * *' cannot be used: its hour is '25'; the fields are minute "
        "hour day-of-month month day-of-week, such as '30 2 * * MON-FRI' (02:30 on weekdays)",
    ),
    "zone": (
        declare(zone="Europe/Berln"),
        "schedule 'nightly': there is no time zone 'Europe/Berln'; did you mean 'Europe/Berlin'?",
    ),
    "every": (
        declare(cron=None, every=60),
        "schedule 'nightly': every is 60; give a positive timedelta",
    ),
    "short": (
        declare(cron=None, every=timedelta(milliseconds=1)),
        "schedule 'nightly': every is 0:00:00.001000; give 1 second to 366 days, or a cron expression",
    ),
    "catch-up": (
        declare(catch_up="never"),
        "schedule 'nightly': catch_up is 'never'; give 'skip' or 'once' or 'all'",
    ),
    "jitter": (
        declare(jitter=timedelta(seconds=-1)),
        "schedule 'nightly': jitter is -1 day, 23:59:59; give a timedelta of zero or more",
    ),
    "key": (declare(key=""), "schedule 'nightly': key is ''; give a text"),
    "due into": (
        declare(due_into="day"),
        "schedule 'nightly': due_into is 'day'; give a field of Report",
    ),
    "due into another type": (
        declare(due_into="rate"),
        "schedule 'nightly': its input does not fit Report: rate: Input should be a valid number, unable to parse "
        "string as a number",
    ),
    "unknown field": (
        declare({"kinds": "tax"}),
        "schedule 'nightly': its input does not fit Report: kinds: there is no such field, remove it or correct its "
        "name",
    ),
    "no number": (
        declare(Report(rate=float("nan"))),
        "schedule 'nightly': its input: this Report cannot be written as JSON: JSON has no NaN and no infinity; give a "
        "finite number or None, or a model with ser_json_inf_nan='strings'",
    ),
}


@pytest.mark.parametrize("mistake", SCHEDULE_MISTAKES)
def test_a_mistake_is_told_at_the_declaration(mistake: str) -> None:
    provoke, message = SCHEDULE_MISTAKES[mistake]
    with pytest.raises(DefinitionError) as raised:
        provoke()
    assert str(raised.value) == message


def test_an_event_and_a_json_input_are_declared_as_well() -> None:
    opens = Event("opens", Report)
    schedule = Schedule("daily", opens, {"kind": "tax"}, every=timedelta(days=1), due_into="due")
    assert (schedule.model, schedule.body) == (Report, {"kind": "tax"})
    assert schedule.calendar.every_ms == 86_400_000
