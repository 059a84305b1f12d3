"""Flight search: asks three carriers at once, holds the best offer that arrives in time, then books it.

A carrier without an offer rejects the question. A carrier that does not answer is not waited for: one offer at the
deadline is enough to continue.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, Field

from sagaline.sagas import Contract, Saga, step
from sagaline.sagas.nodes import scatter

CARRIERS = ("carrier-blue", "carrier-green", "carrier-red")


class Journey(BaseModel):
    id: str = Field(min_length=1, max_length=64)
    origin: str = Field(min_length=3, max_length=3)
    destination: str = Field(min_length=3, max_length=3)
    seats: int = Field(ge=1, le=9)


class AskOffer(BaseModel):
    journey: Journey


class Offer(BaseModel):
    carrier: str
    flight: str
    price_cents: int


class HoldSeats(BaseModel):
    journey_id: str
    flight: str
    seats: int


class SeatsHeld(BaseModel):
    hold_id: str


class ReleaseSeats(BaseModel):
    journey_id: str


class SeatsReleased(BaseModel):
    were_held: bool


class ConfirmSeats(BaseModel):
    journey_id: str
    hold_id: str


class SeatsConfirmed(BaseModel):
    booking: str


ask_offer = Contract("ask-offer", AskOffer, Offer, queue=CARRIERS[0])
hold_seats = Contract("hold-seats", HoldSeats, SeatsHeld, queue="reservations")
release_seats = Contract("release-seats", ReleaseSeats, SeatsReleased, queue="reservations")
confirm_seats = Contract("confirm-seats", ConfirmSeats, SeatsConfirmed, queue="reservations")


class FlightSearch(BaseModel):
    """The state of a search."""

    journey: Journey
    offer: Offer | None = None
    held: SeatsHeld | None = None
    booking: SeatsConfirmed | None = None


@scatter(ask_offer, queues=CARRIERS, into="offer", deadline=timedelta(seconds=6), best=lambda offer: offer.price_cents)
def offers(s: FlightSearch) -> AskOffer:
    return AskOffer(journey=s.journey)


@step(hold_seats, into="held")
def hold(s: FlightSearch) -> HoldSeats:
    assert s.offer is not None
    return HoldSeats(journey_id=s.journey.id, flight=s.offer.flight, seats=s.journey.seats)


@hold.undo(release_seats)
def release(s: FlightSearch) -> ReleaseSeats:
    return ReleaseSeats(journey_id=s.journey.id)


@step(confirm_seats, into="booking", read_only=True)
def confirm(s: FlightSearch) -> ConfirmSeats:
    assert s.held is not None
    return ConfirmSeats(journey_id=s.journey.id, hold_id=s.held.hold_id)


flight_search = Saga("flight-search", FlightSearch, version=1, flow=[offers, hold, confirm])
