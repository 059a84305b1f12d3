"""Small definitions with one mistake each, and the same mended: ``PLANTED`` maps a name to (law, maker).

A maker called with True gives the mended definition. Each call makes everything anew: a step stands in one saga only.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, Field

from sagaline.sagas import Contract, Event, Retry, Saga, Step, pivot, step
from sagaline.sagas.definition import AnyDefinition
from sagaline.sagas.nodes import choose, each, emit, expect, loop, parallel, route, run, sleep, wait, when
from sagaline.sagas.process_manager import Next, ProcessManager

Maker = Callable[[bool], AnyDefinition]
PLANTED: dict[str, tuple[str, Maker]] = {}


def planted(law: str) -> Callable[[Maker], Maker]:
    """The law that the mistake breaks."""

    def register(maker: Maker) -> Maker:
        PLANTED[maker.__name__] = law, maker
        return maker

    return register


ONCE_MORE = Retry()


class Do(BaseModel):
    id: str


class Done(BaseModel):
    ok: bool = True


class Priced(BaseModel):
    cents: int = Field(ge=0)
    note: str | None = None
    rate: Literal["low", "high"] = "low"


class Order(BaseModel):
    id: str
    kind: Literal["home", "abroad"] = "home"
    priced: Priced | None = None
    paid: Done | None = None
    sent: Done | None = None
    rounds: int = 0

    @property
    def certain(self) -> Priced:
        """The price, which must be known."""
        assert self.priced is not None, "the price is not known"
        return self.priced


def make(
    name: str,
    build: Callable[[Order], Do] = lambda s: Do(id=s.id),
    *,
    reply: type[BaseModel] = Done,
    into: str | None = None,
    undo: Callable[[Order], Do] | None = lambda s: Do(id=s.id),
    timeout: timedelta = timedelta(minutes=5),
    retry: Retry = ONCE_MORE,
) -> Step[Order]:
    made = step(Contract(name, Do, reply, queue="q"), name=name, into=into, timeout=timeout, retry=retry)(build)
    if undo is not None:
        made.undo(Contract(f"undo-{name}", Do, Done, queue="q"))(undo)
    return made


def price(undo: Callable[[Order], Do] | None = lambda s: Do(id=s.id)) -> Step[Order]:
    return make("price", reply=Priced, into="priced", undo=undo)


def saga(*flow: Any) -> Saga[Order]:
    return Saga("planted", Order, flow=flow)


@planted("step-raises")
def a_step_takes_an_optional_field_of_a_reply_for_given(mended: bool) -> AnyDefinition:
    def send(s: Order) -> Do:
        note = s.certain.note
        return Do(id=f"{s.id}{(note or '') if mended else note.upper()}")  # type: ignore[union-attr]

    return saga(price(), make("send", send))


@planted("step-raises")
def a_step_knows_only_some_values_of_a_reply(mended: bool) -> AnyDefinition:
    codes = {"low": "l", "high": "h"} if mended else {"low": "l"}
    return saga(price(), make("send", lambda s: Do(id=codes[s.certain.rate])))


@planted("undo-raises")
def an_undo_reads_a_reply_that_may_not_have_come(mended: bool) -> AnyDefinition:
    return saga(price(lambda s: Do(id=s.id if mended else str(s.certain.cents))), make("send"))


@planted("no-undo")
def a_step_before_a_failing_one_has_no_undo(mended: bool) -> AnyDefinition:
    return saga(price(), make("pay", undo=(lambda s: Do(id=s.id)) if mended else None), make("send"))


@planted("no-undo")
def the_last_step_may_have_happened_and_has_no_undo(mended: bool) -> AnyDefinition:
    last = make("send", undo=None)
    return saga(price(), pivot, last) if mended else saga(price(), last)


@planted("no-undo")
def a_branch_of_a_parallel_leaves_something_behind(mended: bool) -> AnyDefinition:
    left = make("left", undo=(lambda s: Do(id=s.id)) if mended else None)
    return saga(parallel(left, make("right")))


@planted("no-undo")
def a_child_leaves_something_behind(mended: bool) -> AnyDefinition:
    child = Saga("child", Order, flow=[make("pay", undo=(lambda s: Do(id=s.id)) if mended else None)])
    return saga(run(child, lambda s: Order(id=s.id)), make("send"))


@planted("code-raises")
def a_condition_reads_what_one_way_leaves_open(mended: bool) -> AnyDefinition:
    asks = choose(when(lambda s: s.kind == "home", price()), otherwise=None, name="asks")

    def is_dear(s: Order) -> bool:
        return (not mended or s.priced is not None) and s.certain.cents > 0

    dear = choose(when(is_dear, make("pay")), otherwise=None)
    return saga(asks, dear)


@planted("code-raises")
def a_sleep_may_be_negative(mended: bool) -> AnyDefinition:
    def until(s: Order) -> timedelta:
        hours = s.certain.cents - 1
        return timedelta(hours=max(0, hours) if mended else hours)

    return saga(price(), sleep("until", until))


@planted("unreachable")
def a_case_compares_with_a_value_that_does_not_exist(mended: bool) -> AnyDefinition:
    value = "abroad" if mended else "overseas"
    return saga(choose(when(lambda s: s.kind == value, make("customs")), otherwise=None))


@planted("unreachable")
def a_case_stands_behind_one_that_is_always_true(mended: bool) -> AnyDefinition:
    first = when(lambda s: s.kind == "home" if mended else bool(s.id), make("post"))
    return saga(choose(first, otherwise=make("customs")))


@planted("no-undo")
def a_branch_that_a_table_leads_to_leaves_something_behind(mended: bool) -> AnyDefinition:
    pay = make("pay", undo=(lambda s: Do(id=s.id)) if mended else None)
    return saga(route("banks", by=lambda s: {"id": s.id}, to={"one": pay}, otherwise=None), make("send"))


@planted("loop-runs-out")
def a_loop_asks_for_what_its_rounds_never_change(mended: bool) -> AnyDefinition:
    poll = make("poll", reply=Priced, into="priced")
    asks = loop(poll, while_=lambda s: s.priced is None if mended else s.paid is None, rounds_max=3, name="asks")
    return saga(asks, make("pay", into="paid"))


@planted("retry-too-long")
def a_step_is_given_more_attempts_than_time(mended: bool) -> AnyDefinition:
    waits = Retry(max_attempts=5, first_delay=timedelta(seconds=10))
    return saga(make("pay", timeout=timedelta(minutes=10 if mended else 1), retry=waits))


@planted("retry-too-long")
def an_undo_is_given_more_attempts_than_time(mended: bool) -> AnyDefinition:
    pay, contract = make("pay", undo=None), Contract("refund", Do, Done, queue="q")
    waits = Retry(max_attempts=10, max_delay=timedelta(hours=1), factor=10)
    pay.undo(contract, timeout=timedelta(hours=10 if mended else 1), retry=waits)(lambda s: Do(id=s.id))
    return saga(pay)


@planted("invariant")
def a_parcel_leaves_before_it_is_paid(mended: bool) -> AnyDefinition:
    pay, send = make("pay", into="paid"), make("send", into="sent")
    found = saga(pay, send) if mended else saga(send, pay)

    @found.invariant
    def sent_is_paid(s: Order, status: str) -> bool:
        return s.sent is None or s.paid is not None

    return found


@planted("invariant")
def it_completes_unpaid_when_the_event_does_not_come(mended: bool) -> AnyDefinition:
    paid = Event("paid", Done)
    comes = wait(
        expect(paid, key=lambda s: s.id, into="paid"),
        timeout=timedelta(days=1),
        on_timeout="fail" if mended else "go_on",
    )
    found = saga(price(), comes)

    @found.invariant
    def completed_is_paid(s: Order, status: str) -> bool:
        return status != "completed" or s.paid is not None

    return found


@planted("nobody-emits")
def a_flow_waits_for_what_it_emits_behind_the_wait(mended: bool) -> AnyDefinition:
    ready = Event("ready", Done)
    says = emit(ready, lambda s: Done(), key=lambda s: s.id)
    waits = wait(expect(ready, key=lambda s: s.id), timeout=timedelta(hours=1))
    return saga(says, waits) if mended else saga(waits, says)


@planted("code-raises")
def parts_are_taken_from_a_reply_that_may_say_none(mended: bool) -> AnyDefinition:
    def parts(s: Order) -> list[Order]:
        count = s.certain.cents
        first = [Order(id=f"{s.id}-{n}") for n in range(count)]
        return first if mended else [first[0], *first[1:]]

    part = Saga("part", Order, flow=[make("pack")])
    return saga(price(), each(part, of=parts, name="parts"))


class Placed(BaseModel):
    id: str


class Paid(BaseModel):
    id: str


placed_event = Event("placed", Placed)
paid_event = Event("paid", Paid)


def manager(*steps: Step[Order]) -> ProcessManager[Order]:
    return ProcessManager("planted", Order, steps=steps)


@planted("no-wake-up")
def a_process_waits_for_an_event_without_a_timer(mended: bool) -> AnyDefinition:
    found = manager()

    @found.starts_on(placed_event, key=lambda e: e.id)
    def placed(e: Placed) -> Next[Order]:
        return Next("unpaid", Order(id=e.id), timers={"late": timedelta(days=1)} if mended else None)

    @found.on(paid_event, key=lambda e: e.id, when="unpaid")
    def paid(s: Order, e: Paid) -> Next[Order]:
        return Next.complete()

    @found.on_timer("late", when="unpaid")
    def late(s: Order) -> Next[Order]:
        return Next.fail("nobody paid")

    return found


@planted("no-wake-up")
def nobody_takes_the_end_of_a_step(mended: bool) -> AnyDefinition:
    pick = make("pick")
    found = manager(pick)

    @found.starts_on(placed_event, key=lambda e: e.id)
    def placed(e: Placed) -> Next[Order]:
        return Next("picking", Order(id=e.id), do=[pick])

    if mended:

        @found.on_done(pick, when="picking")
        def picked(s: Order) -> Next[Order]:
            return Next.complete()

    return found


@planted("never-ends")
def a_timer_sets_itself_for_ever(mended: bool) -> AnyDefinition:
    found = manager()

    @found.starts_on(placed_event, key=lambda e: e.id)
    def placed(e: Placed) -> Next[Order]:
        return Next("waiting", Order(id=e.id), timers={"again": timedelta(hours=1)})

    @found.on_timer("again")
    def again(s: Order) -> Next[Order]:
        return Next.complete() if mended else Next("waiting", timers={"again": timedelta(hours=1)})

    return found


@planted("code-raises")
def a_handler_takes_it_for_given_that_the_payment_came_first(mended: bool) -> AnyDefinition:
    pick = make("pick")
    found = manager(pick)

    @found.starts_on(placed_event, key=lambda e: e.id)
    def placed(e: Placed) -> Next[Order]:
        return Next("open", Order(id=e.id), do=[pick])

    @found.on(paid_event, key=lambda e: e.id)
    def paid(s: Order, e: Paid) -> Next[Order]:
        return Next("open", s.model_copy(update={"paid": Done()}))

    @found.on_done(pick)
    def picked(s: Order) -> Next[Order]:
        assert mended or s.paid is not None, "picked, and not paid"
        return Next.complete()

    return found


@planted("unreachable")
def a_handler_names_a_phase_wrongly(mended: bool) -> AnyDefinition:
    pick = make("pick")
    found = manager(pick)

    @found.starts_on(placed_event, key=lambda e: e.id)
    def placed(e: Placed) -> Next[Order]:
        return Next("picking", Order(id=e.id), do=[pick], timers={"late": timedelta(minutes=1)})

    @found.on_done(pick, when="picking")
    def picked(s: Order) -> Next[Order]:
        return Next.complete()

    @found.on_timer("late", when="picking" if mended else "piking")
    def late(s: Order) -> Next[Order]:
        return Next.fail("it takes too long")

    return found
