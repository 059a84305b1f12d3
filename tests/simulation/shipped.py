"""The shipped examples, one a run, instead of invented definitions."""

from __future__ import annotations

import random
from typing import Final

from sagaline.sagas.definition import AnyDefinition
from sagaline.sagas.examples.flight_search import flight_search
from sagaline.sagas.examples.invoice_import import invoice_import
from sagaline.sagas.examples.loan_approval import loan_approval
from sagaline.sagas.examples.order_checkout import checkout
from sagaline.sagas.examples.order_fulfilment import order_fulfilment
from sagaline.sagas.examples.trip_booking import trip_booking

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
