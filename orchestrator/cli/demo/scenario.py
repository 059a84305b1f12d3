"""The orders of the demo: the failure of each, and how it must end. Names trigger the failures, see the workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ....sagas.examples.order_checkout import Checkout, Order, OrderLine, checkout
from ...messages.document import CauseKind, Status
from ...messages.inputs import instance_id
from ..remote import Json

__all__ = ["Plan", "expected_end", "plan_orders", "story_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """One kind of failure. ``name`` ends the order's id; it, ``customer`` or ``sku`` makes the workers fail."""

    name: str
    story: str
    ends: Status
    customer: str = "ann"
    sku: str = "teapot"


_SMOOTH = Fate(name="smooth", story="nothing goes wrong", ends=Status.COMPLETED)
_DECLINED = Fate(
    name="declined", story="the card is declined, the stock released", ends=Status.COMPENSATED, customer="declined-dora"
)
_SILENT = Fate(name="silent", story="the carrier never answers, all is undone", ends=Status.COMPENSATED)
_CRASH = Fate(
    name="crash", story="the payment worker crashes in the charge", ends=Status.COMPLETED, customer="crash-carl"
)
_FLAKY = Fate(name="flaky", story="the charge fails once and is retried", ends=Status.COMPLETED, customer="flaky-finn")
_SOLD_OUT = Fate(name="soldout", story="the stock is rejected", ends=Status.COMPENSATED, sku="sold-out-lamp")

_ROUND: Final = (
    _SMOOTH,
    _DECLINED,
    _SILENT,
    _CRASH,
    _FLAKY,
    _SMOOTH,
    _SMOOTH,
    _DECLINED,
    _SOLD_OUT,
    _SMOOTH,
)
"""Ten orders; every further ten are like them. The first five contain every kind of failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One order of this run."""

    order: Order
    fate: Fate

    @property
    def instance(self) -> str:
        return instance_id(checkout.name, self.order.id)

    @property
    def input(self) -> Checkout:
        return Checkout(order=self.order)


def plan_orders(count: int, run: str) -> list[Plan]:
    """The orders of one run; ``run`` makes their ids unique among runs."""
    return [_plan(f"{run}-{number:02}", _ROUND[(number - 1) % len(_ROUND)], number) for number in range(1, count + 1)]


def _plan(order_id: str, fate: Fate, number: int) -> Plan:
    order = Order(
        id=f"{order_id}-{fate.name}",
        customer=fate.customer,
        lines=[OrderLine(sku=fate.sku, quantity=1 + number % 3)],
        total_cents=1_000 + 95 * number,
    )
    return Plan(order=order, fate=fate)


def story_of(found: Json) -> str:
    """What is planned for an order, by its key; also for one of an earlier run."""
    fate = _fate_of(found)
    return fate.story if fate else "an order of your own"


def expected_end(found: Json) -> Status:
    """How an order must end. Unplanned orders may end in any way; cancelled and timed-out ones are compensated.

    A deadline can also pass while no demo runs, or on a slow machine.
    """
    fate = _fate_of(found)
    if fate is None:
        return Status(found["status"])
    turned = (found["cause"] or {}).get("kind") in (CauseKind.CANCELLED, CauseKind.TIMEOUT)
    return Status.COMPENSATED if turned else fate.ends


def _fate_of(found: Json) -> Fate | None:
    return next((fate for fate in _ROUND if found["key"].endswith(f"-{fate.name}")), None)
