"""``saga demo --all``: what the order checkout does not show, one pattern after the other. Each checks itself.

A pattern brings its workers, which run beside those of the checkout, and plays when all orders have ended: it acts as a
program outside would (a producer, the API), says what happens, and returns what is not as promised.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from pydantic import BaseModel
from rich.console import Console
from rich.text import Text

from ....sagas import Contract, Event, Retry, Saga, step
from ....sagas.definition import AnyDefinition
from ....sagas.examples.checkout_by_events import Placed, order_placed
from ....sagas.examples.order_checkout import Order, OrderLine
from ....workers.context import Context
from ....workers.examples.checkout_by_events import ServiceBooks, checkout_services
from ....workers.message import Message
from ....workers.worker import Worker
from ...ports.clock import Clock
from ...producer import Producer
from ..errors import Failure
from ..remote import Json
from .shop import Shop
from .traces import SpanMemory, draw

__all__ = ["Pattern", "Scheduled", "Stage", "delete_left_schedules", "every_pattern", "play_all"]

_DELAY: Final = timedelta(seconds=1)
_LATE_MS_MAX: Final = 5_000
_LOOK_SECONDS: Final = 0.05
_TICKS: Final = 2
_HANDLED: Final = {"handle order-placed", "handle goods-reserved", "handle card-charged"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What a pattern plays with. ``run`` is part of every key: several runs may share a log."""

    producer: Producer
    shop: Shop
    spans: SpanMemory
    console: Console
    run: str
    clock: Clock
    timeout_seconds: float

    def say(self, text: str) -> None:
        self.console.print(f"  {text}", highlight=False, soft_wrap=True)

    async def until(self, what: str, reached: Callable[[], bool | Awaitable[bool]]) -> None:
        """Waits for it.

        Raises:
            Failure: it did not come in time.
        """
        try:
            async with asyncio.timeout(self.timeout_seconds):
                while not await _holds(reached):  # noqa: ASYNC110  # files and HTTP have no event
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise Failure(
                f"after {self.timeout_seconds:g} s {what}; give more time with --timeout, or use --log-level info"
            ) from None


async def _holds(reached: Callable[[], bool | Awaitable[bool]]) -> bool:
    answer = reached()
    return await answer if isinstance(answer, Awaitable) else answer


class Pattern(Protocol):
    """One pattern. ``workers`` run during the whole demo, and the engine decides ``definitions``."""

    title: str
    definitions: Sequence[AnyDefinition] = ()
    workers: Sequence[Worker]

    async def play(self, stage: Stage) -> list[str]:
        """Shows it; returns what is not as promised.

        Raises:
            Failure: something did not happen in time.
        """
        ...


def every_pattern(folder: Path) -> list[Pattern]:
    """In the order in which they are shown. ``folder``: for their files."""
    return [Choreography(ServiceBooks(folder / "services.db")), DelayedMessage(), ParkedKey(), Scheduled()]


class Choreography(Pattern):
    """The checkout without an orchestrator."""

    title = "Choreography: three services that only subscribe and publish, and no saga"

    def __init__(self, books: ServiceBooks) -> None:
        self._books = books
        self.workers: Sequence[Worker] = checkout_services(books)

    async def play(self, stage: Stage) -> list[str]:
        planned = {"ann": ["reserved", "charged", "shipped"], "declined-dora": ["reserved", "released"]}
        wrong, trace = list[str](), ""
        for customer, effects in planned.items():
            id, trace_id = f"{stage.run}-{customer}", stage.clock.new_id()
            order = Order(id=id, customer=customer, lines=[OrderLine(sku="teapot", quantity=1)], total_cents=900)
            traceparent = f"00-{trace_id}-{trace_id[16:]}-01"
            await stage.producer.publish(order_placed, id, Placed(order=order), traceparent=traceparent)
            done = await self._effects(stage, id, len(effects))
            stage.say(f"order of {customer}: {', '.join(done)}")
            wrong += [] if done == effects else [f"the services did {done} for {customer}, not {effects}"]
            trace = trace or trace_id

        def is_complete() -> bool:
            return {span.name for span in stage.spans.of_trace(trace)} >= _HANDLED

        await stage.until(f"trace {trace} was not complete", is_complete)
        stage.console.print(draw(trace, stage.spans.of_trace(trace)))
        return wrong

    async def _effects(self, stage: Stage, id: str, count: int) -> list[str]:
        await stage.until(f"order {id} was not finished", lambda: len(self._books.of(id)) >= count)
        return self._books.of(id)


class Reminder(BaseModel):
    text: str


reminder = Event("demo-reminder", Reminder)


class DelayedMessage(Pattern):
    """A message with a time."""

    title = "Delayed message: published now, delivered later, by a timer in the log"

    def __init__(self) -> None:
        worker, self._came = Worker("demo-reminders"), dict[str, int]()

        @worker.subscribes(reminder)
        async def remind(body: Reminder, message: Message) -> None:
            self._came[message.id] = message.timestamp_ms

        self.workers: Sequence[Worker] = [worker]

    async def play(self, stage: Stage) -> list[str]:
        kept, cancelled = f"{stage.run}-tea", f"{stage.run}-coffee"
        due_ms = stage.clock.now_ms() + round(_DELAY.total_seconds() * 1000)
        for id in (cancelled, kept):
            await stage.producer.publish(reminder, id, Reminder(text=id), id=id, deliver_after=_DELAY)
        await stage.producer.cancel(cancelled, by="demo", reason="to show it")
        stage.say(f"{kept} is due in {_DELAY.total_seconds():g} s; so is {cancelled}, until it is cancelled")
        await stage.until(f"{kept} was not delivered", lambda: kept in self._came)
        late_ms = self._came[kept] - due_ms
        stage.say(f"{kept} was delivered {late_ms} ms after its time")
        wrong = [f"{cancelled} was delivered though it was cancelled"] if cancelled in self._came else []
        if not 0 <= late_ms <= _LATE_MS_MAX:
            wrong.append(f"{kept} was delivered {late_ms} ms after its time")
        return wrong


class Price(BaseModel):
    cents: int


price_changed = Event("demo-price-changed", Price)


class ParkedKey(Pattern):
    """A key that no retry helps, and an operator."""

    title = "Parked key: what fails waits with what follows it, other keys pass, an operator lets it go on"

    def __init__(self) -> None:
        worker = Worker("demo-prices")
        self._broken, self._seen = True, defaultdict[str, list[int]](list)

        @worker.subscribes(price_changed, retry=Retry(max_attempts=2, first_delay=timedelta(milliseconds=50)))
        async def note(body: Price, message: Message) -> None:
            key = (message.key or b"").decode()
            if key.endswith("-lamp") and self._broken:
                raise ConnectionError("the price list is locked")
            self._seen[key].append(body.cents)

        self.workers: Sequence[Worker] = [worker]

    async def play(self, stage: Stage) -> list[str]:
        lamp, vase, group = f"{stage.run}-lamp", f"{stage.run}-vase", self.workers[0].name
        prices, found = [100, 200, 300], dict[str, Json]()
        self._broken = True
        for cents in prices:
            await stage.producer.publish(price_changed, lamp, Price(cents=cents))
        await stage.producer.publish(price_changed, vase, Price(cents=100))

        async def is_parked() -> bool:
            page = await stage.shop.get("/v1/parked", {"group": group})
            found.update((each["key"], each) for each in page["parked"])
            return found.get(lamp, {}).get("letters") == len(prices)

        await stage.until(f"{vase} had not passed", lambda: self._seen[vase] == [100])
        await stage.until(f"{lamp} was not parked with its {len(prices)} messages", is_parked)
        stage.say(f"{lamp} is parked with {len(prices)} messages ({found[lamp]['error']}); {vase} has passed")
        early = list(self._seen[lamp])
        self._broken = False
        stage.say(f"the cause is corrected; an operator does what `saga parked redrive {group} {lamp}` does")
        await stage.shop.post(f"/v1/parked/{group}/{lamp}/redrive", {"by": "demo"}, f"the redrive of {lamp}")
        await stage.until(f"{lamp} was not delivered again", lambda: len(self._seen[lamp]) >= len(prices))
        stage.say(f"{lamp} was delivered in order: {', '.join(map(str, self._seen[lamp]))}")
        return [] if not early and self._seen[lamp] == prices else [f"{lamp}: {early}, then {self._seen[lamp]}"]


class Tick(BaseModel):
    due: str = ""


class NoteTick(BaseModel):
    due: str


class TickNoted(BaseModel):
    due: str


note_tick = Contract("demo-note-tick", NoteTick, TickNoted, queue="demo-ticks")


@step(note_tick)
def noting(s: Tick) -> NoteTick:
    return NoteTick(due=s.due)


tick = Saga("demo-tick", Tick, flow=[noting])


class Scheduled(Pattern):
    """A saga at an interval. ``came``: the instances that its worker has got a command of."""

    title = "Schedule: a saga every second, one instance for each due time, until an operator pauses it"
    definitions: Sequence[AnyDefinition] = (tick,)

    def __init__(self) -> None:
        worker, self.came = Worker("demo-ticks"), list[str]()

        @worker.handles(note_tick)
        async def note(command: NoteTick, ctx: Context) -> TickNoted:
            self.came.append(ctx.instance)
            return TickNoted(due=command.due)

        self.workers: Sequence[Worker] = [worker]

    async def play(self, stage: Stage) -> list[str]:
        name = f"demo-{stage.run}"
        path, found = f"/v1/schedules/{name}", dict[str, Any]()
        plan = {"definition": tick.name, "every_seconds": 1, "due_into": "due", "by": "demo"}
        await stage.shop.post(path, plan, f"schedule {name}", method="PUT")
        await stage.until(f"{name} had not started two sagas", lambda: len(self._of(name)) >= _TICKS)
        stage.say(f"an operator does what `saga schedules pause {name}` does")
        await stage.shop.post(f"{path}/pause", {"by": "demo"}, f"the pause of {name}")

        async def is_settled() -> bool:
            found.update(await stage.shop.get(path, {}))
            is_told = all(each["outcome"] != "sent" for each in found["recent"])
            return is_told and len(self._of(name)) >= found["started"]

        await stage.until(f"the starts of {name} were not all carried out", is_settled)
        outcomes = [f"{each['instance']}: {each['outcome']}" for each in reversed(found["recent"])]
        for each in outcomes:
            stage.say(each)
        stage.say(f"{name} is paused: {found['started']} started, {found['denied']} denied, {found['missed']} missed")
        came = [f"{instance}: started" for instance in self._of(name)]
        good = len(came) == found["started"] and outcomes == came[-len(outcomes) :]
        good = good and found["paused"] and not found["next"] and not found["missed"] and not found["denied"]
        return [] if good else [f"schedule {name}: the worker saw {came}, and the API tells {found}"]

    def _of(self, name: str) -> list[str]:
        """In the order of their due times: the last ones of a schedule that was just deleted may come too."""
        return sorted(each for each in self.came if each.startswith(f"{tick.name}/{name}-"))


async def delete_left_schedules(shop: Shop) -> None:
    """Deletes those of earlier demos, which were killed before they paused them: they would start sagas for ever.

    Raises:
        Failure: the API did not accept it.
    """
    page = await shop.get("/v1/schedules", {"paused": "false"})
    for name in (each["name"] for each in page["schedules"] if each["definition"] == tick.name):
        await shop.post(f"/v1/schedules/{name}", {"by": "demo"}, f"the end of {name}", method="DELETE")


async def play_all(patterns: Sequence[Pattern], stage: Stage) -> list[str]:
    """Shows them one after the other; returns what is not as promised."""
    wrong: list[str] = []
    for each in patterns:
        stage.console.print(Text(f"\n{each.title}", style="bold"), soft_wrap=True)
        wrong += await each.play(stage)
    return wrong
