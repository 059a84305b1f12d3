"""The workers of the flight search: three carriers and one reservation system. Some names trigger failures:

- a journey whose id ends in ``-nothing``: no carrier has a seat;
- a journey whose id ends in ``-silent``: the red carrier never answers;
- a journey whose id ends in ``-gone``: the seats of the best offer are gone before they are held.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from sagaline.sagas import Rejected
from sagaline.sagas.examples.flight_search import (
    CARRIERS,
    AskOffer,
    ConfirmSeats,
    HoldSeats,
    Offer,
    ReleaseSeats,
    SeatsConfirmed,
    SeatsHeld,
    SeatsReleased,
    ask_offer,
    confirm_seats,
    hold_seats,
    release_seats,
)
from sagaline.workers import Context, Inbox, Worker

from .books import note, take_back

__all__ = ["flight_workers"]

_PRICES: dict[str, int] = dict(zip(CARRIERS, (31_900, 27_500, 24_900), strict=True))


def flight_workers(inbox: Inbox) -> tuple[Worker, ...]:
    """The carriers, each on a queue of its own, and the reservations."""
    return (*(_carrier(queue, inbox) for queue in CARRIERS), _reservations(inbox))


def _carrier(queue: str, inbox: Inbox) -> Worker:
    worker = Worker(queue, inbox=inbox)

    @worker.handles(replace(ask_offer, queue=queue))
    async def offer(command: AskOffer, ctx: Context) -> Offer | Rejected:
        if command.journey.id.endswith("-nothing") or queue == "carrier-blue":
            return Rejected(f"{queue} has no seat", code="no_seat")
        if command.journey.id.endswith("-silent") and queue == "carrier-red":
            await asyncio.Event().wait()  # forever: the runtime cancels it at the command's deadline
        return Offer(carrier=queue, flight=f"{queue[8:].upper()}-1", price_cents=_PRICES[queue])

    return worker


def _reservations(inbox: Inbox) -> Worker:
    worker = Worker("reservations", inbox=inbox)

    @worker.handles(hold_seats)
    async def hold(command: HoldSeats, ctx: Context) -> SeatsHeld | Rejected:
        if command.journey_id.endswith("-gone"):
            return Rejected("the seats are gone", code="seats_gone")
        note(ctx, "seats", command.journey_id)
        return SeatsHeld(hold_id=f"H-{command.journey_id}")

    @worker.handles(release_seats)
    async def release(command: ReleaseSeats, ctx: Context) -> SeatsReleased:
        return SeatsReleased(were_held=take_back(ctx))

    @worker.handles(confirm_seats)
    async def confirm(command: ConfirmSeats, ctx: Context) -> SeatsConfirmed:
        return SeatsConfirmed(booking=f"B-{command.journey_id}")

    return worker
