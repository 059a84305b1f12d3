"""``saga demo --all``: every shipped example in one process, each with its own failures, and a check of the result."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ....sagas import Event
from ....sagas.definition import AnyDefinition
from ....sagas.examples.flight_search import FlightSearch, Journey, flight_search
from ....sagas.examples.invoice_import import InvoiceImport, invoice_import
from ....sagas.examples.loan_approval import LARGE_CENTS, Application, Loan, loan_approval
from ....sagas.examples.order_checkout import checkout
from ....sagas.examples.order_fulfilment import (
    OrderCalledOff,
    OrderPaid,
    OrderPlaced,
    order_called_off,
    order_fulfilment,
    order_paid,
    order_placed,
)
from ....sagas.examples.trip_booking import Trip, TripBooking, trip_booking
from ....workers import SqliteInbox, Worker
from ....workers.examples.books import BOOKS_SCHEMA, Books
from ....workers.examples.flight_search import flight_workers
from ....workers.examples.invoice_import import invoice_workers
from ....workers.examples.ledger import Ledger
from ....workers.examples.loan_approval import loan_workers
from ....workers.examples.order_checkout import order_workers
from ....workers.examples.order_fulfilment import fulfilment_workers
from ....workers.examples.trip_booking import trip_workers
from ...messages.document import Status
from ...messages.inputs import instance_id
from ..errors import Failure
from ..output import status_text
from .parts import Parts, demo_parts, unless_ended
from .place import Place
from .scenario import Plan, plan_orders

__all__ = ["EXAMPLES", "Tour", "Visit", "plan_visits"]

EXAMPLES: Sequence[AnyDefinition] = (
    checkout,
    trip_booking,
    flight_search,
    invoice_import,
    order_fulfilment,
    loan_approval,
)
_ORDERS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One instance: its start, its story and how it must end. ``events`` start an instance of a process manager."""

    story: str
    definition: AnyDefinition
    key: str
    ends: Status
    start: BaseModel | None = None
    events: tuple[tuple[Event[BaseModel], BaseModel], ...] = ()

    @property
    def instance(self) -> str:
        return instance_id(self.definition.name, self.key)

    @property
    def input(self) -> BaseModel:
        assert self.start is not None
        return self.start


def plan_visits(run: str) -> list[Visit]:
    """One of each kind; ``run`` makes their keys unique among runs. Names trigger the failures."""
    orders = map(_order, plan_orders(_ORDERS, run))
    return [*orders, *_trips(run), *_journeys(run), *_files(run), *_parcels(run), *_loans(run)]


def _order(plan: Plan) -> Visit:
    fate = plan.fate
    return Visit(story=fate.story, definition=checkout, key=plan.order.id, ends=fate.ends, start=plan.input)


def _trips(run: str) -> list[Visit]:
    def trip(name: str, story: str, ends: Status, to: str = "Lisbon", traveller: str = "ann") -> Visit:
        key = f"{run}-{name}"
        booked = Trip(id=key, traveller=traveller, to=to, nights=3, insured=name == "insured")
        return Visit(story=story, definition=trip_booking, key=key, ends=ends, start=TripBooking(trip=booked))

    return [
        trip("plain", "three legs in parallel, paid, confirmed", Status.COMPLETED),
        trip("insured", "the same with an insurance", Status.COMPLETED),
        trip("full", "the hotel has no room, the other legs are cancelled", Status.COMPENSATED, to="full-town"),
        trip(
            "declined", "the payment is declined, all legs are cancelled", Status.COMPENSATED, traveller="declined-dan"
        ),
    ]


def _journeys(run: str) -> list[Visit]:
    def journey(name: str, story: str, ends: Status) -> Visit:
        key = f"{run}-{name}"
        asked = FlightSearch(journey=Journey(id=key, origin="LIS", destination="OSL", seats=2))
        return Visit(story=story, definition=flight_search, key=key, ends=ends, start=asked)

    return [
        journey("cheap", "two of three carriers offer, the cheaper is booked", Status.COMPLETED),
        journey("silent", "one carrier never answers and is not waited for", Status.COMPLETED),
        journey("nothing", "nobody has a seat", Status.COMPENSATED),
        journey("gone", "the seats are gone before they are held", Status.COMPENSATED),
    ]


def _files(run: str) -> list[Visit]:
    def file(rows: str, story: str, ends: Status) -> Visit:
        name = f"{rows}.csv"
        return Visit(
            story=story, definition=invoice_import, key=f"{run}-{name}", ends=ends, start=InvoiceImport(file=name)
        )

    return [
        file("60-2", "two of sixty rows are bad and tolerated", Status.COMPLETED),
        file("40-8", "eight of forty are bad, every booked row is undone", Status.COMPENSATED),
    ]


def _parcels(run: str) -> list[Visit]:
    def order(name: str, story: str, ends: Status, *order_of: str, sku: str = "book") -> Visit:
        key = f"lost-{run}" if name == "lost" else f"{run}-{name}"
        bodies = {
            "placed": (order_placed, OrderPlaced(order_id=key, skus=[sku])),
            "paid": (order_paid, OrderPaid(order_id=key, amount_cents=900)),
            "called-off": (order_called_off, OrderCalledOff(order_id=key, reason="changed my mind")),
        }
        events = tuple(bodies[each] for each in order_of)
        return Visit(story=story, definition=order_fulfilment, key=key, ends=ends, events=events)  # type: ignore[arg-type]  # events of several models

    return [
        order("usual", "placed, paid, picked, sent", Status.COMPLETED, "placed", "paid"),
        order("early", "paid before it is placed", Status.COMPLETED, "paid", "placed"),
        order("off", "called off before it is paid", Status.COMPENSATED, "placed", "called-off"),
        order("soldout", "what was ordered cannot be picked", Status.COMPENSATED, "placed", "paid", sku="sold-out-1"),
        order("lost", "picked, cannot be sent, put back", Status.COMPENSATED, "placed", "paid"),
    ]


def _loans(run: str) -> list[Visit]:
    def loan(name: str, story: str, ends: Status, applicant: str = "ann", cents: int = 90_000) -> Visit:
        key = f"blocked-{run}" if name == "blocked" else f"{run}-{name}"
        asked = Loan(application=Application(id=key, applicant=applicant, amount_cents=cents))
        return Visit(story=story, definition=loan_approval, key=key, ends=ends, start=asked)

    return [
        loan("small", "from desk to desk, and paid out", Status.COMPLETED),
        loan("large", "the same with an appraisal", Status.COMPLETED, cents=LARGE_CENTS),
        loan("grey", "scoring sends the file to a person's desk first", Status.COMPLETED, applicant="grey-gus"),
        loan("poor", "scoring rejects it", Status.COMPENSATED, applicant="poor-pia"),
        loan("blocked", "cannot be paid out: contract and funds are undone", Status.COMPENSATED),
    ]


class Tour:
    """One run. ``wrong`` lists the failed checks, once it has ended."""

    def __init__(self, place: Place, console: Console, run: str, timeout_seconds: float) -> None:
        self._place, self._console, self._timeout_seconds = place, console, timeout_seconds
        self._visits = plan_visits(run)
        self._books = place.ledger.with_name(f"{place.ledger.stem.removesuffix('-ledger')}-books.db")
        self.wrong: list[str] = []

    async def run(self, listener: socket.socket) -> None:
        """Raises Failure when a request is denied, or an instance does not end in time."""
        self._console.print(f"Sagaline demo: {self._place.said}", highlight=False, soft_wrap=True)
        async with demo_parts(self._place, listener, EXAMPLES, self._workers()) as parts:
            self._console.print(f"API {parts.address}, for example {parts.address}/v1/instances", highlight=False)
            await unless_ended(self._work(parts), parts)
            await parts.shop.look()
            found = {visit.instance: parts.shop.seen[visit.instance]["status"] for visit in self._visits}
        self._print(found)
        self.wrong = await asyncio.to_thread(self._check, found)
        if self.wrong:
            self._console.print(Text("\nCHECK FAILED: " + "; ".join(self.wrong), style="bold red"), soft_wrap=True)
        else:
            checked = "every instance ended as planned, nothing was done twice, undone steps left no effects"
            self._console.print(Text(f"\nCheck passed: {checked}.", style="bold green"), soft_wrap=True)

    def _workers(self) -> list[Worker]:
        inbox = SqliteInbox(self._books, schema=BOOKS_SCHEMA)
        others = (
            trip_workers(inbox),
            flight_workers(inbox),
            invoice_workers(inbox),
            fulfilment_workers(inbox),
            loan_workers(inbox),
        )
        return [*order_workers(self._place.ledger), *(worker for each in others for worker in each)]

    async def _work(self, parts: Parts) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await parts.shop.start_all([visit for visit in self._visits if visit.start is not None])
                for visit in self._visits:
                    for event, body in visit.events:
                        await parts.shop.publish(event.name, visit.key, body)
                await parts.shop.wait_for(visit.instance for visit in self._visits)
        except TimeoutError:
            seen = parts.shop.seen
            left = [v.instance for v in self._visits if not Status(seen.get(v.instance, _NEW)["status"]).is_final]
            raise Failure(
                f"after {self._timeout_seconds:g} s not ended: {', '.join(left)}; give more time with --timeout"
            ) from None

    def _print(self, found: dict[str, str]) -> None:
        table = Table(title="Examples", title_justify="left", box=SIMPLE_HEAD)
        for column in ("example", "status", "what happened"):
            table.add_column(column, no_wrap=column != "what happened")
        for visit in self._visits:
            table.add_row(visit.definition.name, status_text(found[visit.instance]), visit.story)
        self._console.print(table)
        counted = ", ".join(f"{count} {status}" for status, count in sorted(Counter(found.values()).items()))
        self._console.print(f"{len(EXAMPLES)} examples, {len(found)} instances: {counted}.", highlight=False)

    def _check(self, found: dict[str, str]) -> list[str]:
        """The failed checks, those of the books included."""
        books, ledger = Books(self._books), Ledger(self._place.ledger)
        wrong = [
            f"{v.instance} is {found[v.instance]}, not {v.ends}" for v in self._visits if found[v.instance] != v.ends
        ]
        wrong += [f"done more than once: {entry.effect_key}" for entry in books.wrong()]
        wrong += [f"done more than once: {table} {key}" for table, key, _ in ledger.done_twice()]
        wrong += [f"charged and neither shipped nor refunded: {key}" for key in ledger.open_charges()]
        for visit in self._visits:
            left = books.standing(_subject(visit))
            if visit.ends is Status.COMPENSATED and left:
                wrong.append(f"{visit.instance} was undone but still has: {', '.join(left)}")
        return wrong


_NEW = {"status": Status.RUNNING.value}


def _subject(visit: Visit) -> str:
    """Its name in the books."""
    return visit.start.file if isinstance(visit.start, InvoiceImport) else visit.key
