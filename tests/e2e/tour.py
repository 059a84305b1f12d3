"""The plan of the tour: instances of every shipped example, each with its own failure, and how each must end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from sagaline.orchestrator.cli.demo.scenario import Plan, plan_orders
from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.messages.inputs import instance_id
from sagaline.sagas import Event
from sagaline.sagas.definition import AnyDefinition
from sagaline.sagas.examples.flight_search import FlightSearch, Journey, flight_search
from sagaline.sagas.examples.invoice_import import InvoiceImport, invoice_import
from sagaline.sagas.examples.loan_approval import LARGE_CENTS, Application, Loan, loan_approval
from sagaline.sagas.examples.order_checkout import checkout
from sagaline.sagas.examples.order_fulfilment import (
    OrderCalledOff,
    OrderPaid,
    OrderPlaced,
    order_called_off,
    order_fulfilment,
    order_paid,
    order_placed,
)
from sagaline.sagas.examples.trip_booking import Trip, TripBooking, trip_booking

__all__ = ["EXAMPLES", "Visit", "plan_visits"]

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
    def subject(self) -> str:
        """Its name in the books."""
        return self.start.file if isinstance(self.start, InvoiceImport) else self.key


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
