"""Schedules in virtual time, with the real engine: through outages and crashes each due time starts one instance."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

from pydantic import BaseModel

from sagaline.orchestrator.codec.entities import decode_entity
from sagaline.orchestrator.messages.entities import Schedule as Entity
from sagaline.orchestrator.messages.reasons import ReasonCode
from sagaline.sagas import Contract, Saga, Schedule, step
from sagaline.sagas.examples import order_fulfilment as warehouse
from sagaline.testing import World


class Day(BaseModel):
    due: datetime | None = None
    sent: int | None = None


class Ask(BaseModel):
    day: str


class Done(BaseModel):
    count: int


send = Contract("send-report", Ask, Done, queue="reports")


@step(send)
def report(s: Day) -> Ask:
    return Ask(day=str(s.due))


saga = Saga("report", Day, flow=[report])
HOUR = timedelta(hours=1)


def entity(world: World, name: str) -> Entity:
    """The schedule as it is stored."""
    for records in world.broker.snapshot()[world.topics.state]:
        latest = {record.key: record.value for record in records}
        if (value := latest.get(f"@schedule/{name}".encode())) is not None:
            found = decode_entity(value)
            assert isinstance(found, Entity)
            return found
    raise AssertionError(f"there is no schedule {name!r}")


def test_each_due_time_starts_one_instance_across_crashes() -> None:
    with World(saga) as world:
        world.schedule(Schedule("hourly", saga, Day(), every=HOUR, due_into="due", catch_up="all"))
        for _ in range(6):
            world.advance(minutes=55)
            world.crash("engine")
        world.advance(minutes=35)
        shown = entity(world, "hourly")
        assert shown.started == 6
        assert {each.instance for each in shown.recent} == set(world.documents())
        assert all(each.decided and each.code is None for each in shown.recent)
        states = sorted(world.state(each).due for each in world.documents())
        assert [later - earlier for earlier, later in pairwise(states)] == [HOUR] * 5


def test_overlapping_starts_are_denied_by_a_key_without_the_due_time() -> None:
    with World(saga) as world:
        schedule = Schedule("one", saga, Day(), every=HOUR, key="{schedule}", due_into="due")
        world.schedule(schedule)
        world.advance(hours=3)
        assert list(world.documents()) == ["report/one"]
        outcomes = [each.code for each in entity(world, "one").recent]
        assert outcomes == [None, ReasonCode.KEY_TAKEN, ReasonCode.KEY_TAKEN]
        assert entity(world, "one").denied == 2


def test_a_definition_that_is_not_deployed_waits_visibly_and_the_next_due_times_go_on() -> None:
    other = Saga("other", Day, flow=[report])
    with World(saga) as world:
        world.schedule(Schedule("early", other, Day(), every=HOUR))
        world.advance(hours=2)
        assert {world.status(each) for each in world.documents()} == {"attention"}
        assert [each.code for each in entity(world, "early").recent] == [ReasonCode.CODE_NOT_DEPLOYED] * 2
        assert entity(world, "early").denied == 0
        world.advance(hours=1)
        assert entity(world, "early").started == 3


class Needs(BaseModel):
    text: str


def test_an_input_that_is_denied_is_shown_and_the_next_due_times_go_on() -> None:
    """The engine has another model of the state than the code that has put the schedule."""

    @step(send, name="report")
    def report_text(s: Needs) -> Ask:
        return Ask(day=s.text)

    with World(Saga("report", Needs, flow=[report_text])) as world:
        world.schedule(Schedule("bad", saga, Day(), every=HOUR))
        world.advance(hours=2)
        assert world.documents() == {}
        shown = entity(world, "bad")
        assert [each.code for each in shown.recent] == [ReasonCode.INVALID] * 2
        assert "text: the field is missing" in shown.recent[0].reason
        assert (shown.started, shown.denied) == (2, 2)


def test_a_process_manager_is_started_by_the_event_of_a_schedule() -> None:
    with World(warehouse.order_fulfilment) as world:
        body = {"order_id": "", "skus": ["book"]}
        world.schedule(Schedule("orders", warehouse.order_placed, body, every=HOUR, due_into="order_id"))
        world.advance(hours=2)
        assert sorted(world.documents()) == [f"order-fulfilment/{each}" for each in due_of(world, "orders")]


def due_of(world: World, name: str) -> list[str]:
    return [each.instance.rpartition("/")[2].removeprefix(f"{name}-") for each in entity(world, name).recent]
