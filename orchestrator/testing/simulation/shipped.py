"""The shipped examples, one a run, instead of invented definitions."""

from __future__ import annotations

import random
from typing import Final

from ....sagas.definition import AnyDefinition
from ....sagas.examples.flight_search import flight_search
from ....sagas.examples.invoice_import import invoice_import
from ....sagas.examples.loan_approval import loan_approval
from ....sagas.examples.order_checkout import checkout
from ....sagas.examples.order_fulfilment import order_fulfilment
from ....sagas.examples.trip_booking import trip_booking
from .invent import Invented

__all__ = ["shipped"]

_SHIPPED: Final[tuple[AnyDefinition, ...]] = (
    checkout,
    flight_search,
    invoice_import,
    loan_approval,
    order_fulfilment,
    trip_booking,
)


def shipped(drawn: random.Random) -> Invented:
    """One of them."""
    chosen = (drawn.choice(_SHIPPED),)
    return Invented(definitions=chosen, older=chosen)
