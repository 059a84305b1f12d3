"""The workers of the trip booking. Some names trigger failures:

- a trip to a place that begins with ``full-``: the hotel has no room;
- a traveller whose name begins with ``declined``: the payment is declined.
"""

from __future__ import annotations

from sagaline.sagas import Contract, Rejected
from sagaline.sagas.examples.trip_booking import (
    Book,
    Booked,
    Cancel,
    Cancelled,
    Issue,
    Paid,
    Pay,
    Ticket,
    book_flight,
    book_hotel,
    cancel_flight,
    cancel_hotel,
    end_insurance,
    insure,
    issue_ticket,
    pay_trip,
    refund_trip,
    rent_car,
    return_car,
)
from sagaline.workers import Context, Inbox, Worker

from .books import note, take_back

__all__ = ["trip_workers"]


def trip_workers(inbox: Inbox) -> tuple[Worker, ...]:
    """Flights, hotels, cars, insurances and payments."""
    flights = _booking("flights", inbox, book_flight, cancel_flight, price_cents=20_000)

    @flights.handles(issue_ticket)
    async def issue(command: Issue, ctx: Context) -> Ticket:
        note(ctx, "ticket", command.trip_id)
        return Ticket(number=f"TK-{command.trip_id}")

    return (
        flights,
        _booking("hotels", inbox, book_hotel, cancel_hotel, price_cents=9_000),
        _booking("cars", inbox, rent_car, return_car, price_cents=4_000),
        _booking("insurances", inbox, insure, end_insurance, price_cents=1_500),
        _payments(inbox),
    )


def _booking(
    queue: str, inbox: Inbox, book: Contract[Book, Booked], cancel: Contract[Cancel, Cancelled], *, price_cents: int
) -> Worker:
    worker = Worker(queue, inbox=inbox)

    @worker.handles(book)
    async def handle(command: Book, ctx: Context) -> Booked | Rejected:
        if queue == "hotels" and command.to.startswith("full-"):
            return Rejected(f"no room in {command.to}", code="no_room")
        note(ctx, queue, command.trip_id)
        return Booked(reference=f"{queue}-{command.trip_id}", price_cents=price_cents * command.nights)

    @worker.handles(cancel)
    async def undo(command: Cancel, ctx: Context) -> Cancelled:
        return Cancelled(was_booked=take_back(ctx))

    return worker


def _payments(inbox: Inbox) -> Worker:
    worker = Worker("trip-payments", inbox=inbox)

    @worker.handles(pay_trip)
    async def pay(command: Pay, ctx: Context) -> Paid | Rejected:
        if command.traveller.startswith("declined"):
            return Rejected("the bank declined the card", code="card_declined")
        note(ctx, "payment", command.trip_id)
        return Paid(payment_id=f"P-{command.trip_id}")

    @worker.handles(refund_trip)
    async def refund(command: Cancel, ctx: Context) -> Cancelled:
        return Cancelled(was_booked=take_back(ctx))

    return worker
