"""Trip booking: flight, hotel and car in parallel, optional insurance, then the payment.

When one of them cannot be booked or the card is declined, all bookings are cancelled, also in parallel. Once the trip
is paid the flow only goes forward: the ticket is issued and an event confirms the trip.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, Field

from sagaline.sagas import Contract, Event, Retry, Saga, pivot, step
from sagaline.sagas.nodes import choose, emit, parallel, when


class Trip(BaseModel):
    id: str = Field(min_length=1, max_length=64)
    traveller: str = Field(min_length=1, max_length=128)
    to: str = Field(min_length=1, max_length=64)
    nights: int = Field(ge=1, le=90)
    insured: bool = False


class Book(BaseModel):
    trip_id: str
    to: str
    nights: int


class Booked(BaseModel):
    reference: str
    price_cents: int


class Cancel(BaseModel):
    trip_id: str


class Cancelled(BaseModel):
    was_booked: bool


class Pay(BaseModel):
    trip_id: str
    traveller: str
    amount_cents: int


class Paid(BaseModel):
    payment_id: str


class Issue(BaseModel):
    trip_id: str
    references: list[str]


class Ticket(BaseModel):
    number: str


class TripConfirmed(BaseModel):
    trip_id: str
    ticket: str


book_flight = Contract("book-flight", Book, Booked, queue="flights")
cancel_flight = Contract("cancel-flight", Cancel, Cancelled, queue="flights")
book_hotel = Contract("book-hotel", Book, Booked, queue="hotels")
cancel_hotel = Contract("cancel-hotel", Cancel, Cancelled, queue="hotels")
rent_car = Contract("rent-car", Book, Booked, queue="cars")
return_car = Contract("return-car", Cancel, Cancelled, queue="cars")
insure = Contract("insure-trip", Book, Booked, queue="insurances")
end_insurance = Contract("end-insurance", Cancel, Cancelled, queue="insurances")
pay_trip = Contract("pay-trip", Pay, Paid, queue="trip-payments")
refund_trip = Contract("refund-trip", Cancel, Cancelled, queue="trip-payments")
issue_ticket = Contract("issue-ticket", Issue, Ticket, queue="flights")
trip_confirmed = Event("trip-confirmed", TripConfirmed)


class TripBooking(BaseModel):
    """The state of a booking."""

    trip: Trip
    flight: Booked | None = None
    hotel: Booked | None = None
    car: Booked | None = None
    insurance: Booked | None = None
    payment: Paid | None = None
    ticket: Ticket | None = None


def booked(s: TripBooking) -> list[Booked]:
    """Everything that has been booked so far."""
    return [each for each in (s.flight, s.hotel, s.car, s.insurance) if each is not None]


def order(s: TripBooking) -> Book:
    return Book(trip_id=s.trip.id, to=s.trip.to, nights=s.trip.nights)


def cancellation(s: TripBooking) -> Cancel:
    return Cancel(trip_id=s.trip.id)


flight = step(book_flight, into="flight", timeout=timedelta(minutes=2), name="flight")(order)
hotel = step(book_hotel, into="hotel", timeout=timedelta(minutes=2), name="hotel")(order)
car = step(rent_car, into="car", timeout=timedelta(minutes=2), name="car")(order)
insurance = step(insure, into="insurance", name="insurance")(order)
flight.undo(cancel_flight)(cancellation)
hotel.undo(cancel_hotel)(cancellation)
car.undo(return_car)(cancellation)
insurance.undo(end_insurance)(cancellation)


@step(pay_trip, into="payment", retry=Retry(max_attempts=5))
def pay(s: TripBooking) -> Pay:
    return Pay(trip_id=s.trip.id, traveller=s.trip.traveller, amount_cents=sum(each.price_cents for each in booked(s)))


pay.undo(refund_trip)(cancellation)


@step(issue_ticket, into="ticket", timeout=timedelta(hours=1), retry=Retry(max_attempts=20))
def ticket(s: TripBooking) -> Issue:
    return Issue(trip_id=s.trip.id, references=[each.reference for each in booked(s)])


def confirmation(s: TripBooking) -> TripConfirmed:
    return TripConfirmed(trip_id=s.trip.id, ticket=s.ticket.number if s.ticket else "")


trip_booking = Saga(
    "trip-booking",
    TripBooking,
    version=1,
    flow=[
        parallel(flight, hotel, car, undo="parallel", name="legs"),
        choose(when(lambda s: s.trip.insured, insurance), otherwise=None, name="insured"),
        pay,
        pivot,
        ticket,
        emit(trip_confirmed, confirmation, key=lambda s: s.trip.id, name="confirm"),
    ],
)
