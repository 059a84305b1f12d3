"""``saga demo --rolling``: deploys version 2 of the checkout while orders of version 1 are open.

First without a migration: the deploy check rejects it. Then with one: the check passes, and every order ends.
"""

from __future__ import annotations

import asyncio
import socket

from pydantic import JsonValue
from rich.console import Console
from rich.text import Text

from ....sagas import Saga, pivot
from ....sagas.examples.order_checkout import Checkout, book, charge, checkout, reserve, ship
from ....workers.examples.ledger import Ledger
from ....workers.examples.order_checkout import order_workers
from ...kernel import Registry
from ...messages.document import Status
from ..deploy_check import objection, read_open
from ..errors import Failure
from .parts import demo_parts, unless_ended
from .place import Place
from .scenario import expected_end, plan_orders

__all__ = ["Rolling", "second_version"]

_ORDERS = 10


class CheckoutInCurrency(Checkout):
    """The state of a checkout of version 2."""

    currency: str


def second_version(*, migrating: bool) -> Saga[CheckoutInCurrency]:
    """The checkout whose orders have a currency; ``migrating``: with a migration of version 1."""
    second = Saga(checkout.name, CheckoutInCurrency, version=2, flow=[reserve, charge, book, pivot, ship])
    if migrating:

        @second.migrate(from_version=1)
        def from_version_1(before: dict[str, JsonValue]) -> CheckoutInCurrency:
            return CheckoutInCurrency.model_validate(before | {"currency": "EUR"})

    return second


class Rolling:
    """One run. ``wrong`` lists the failed checks, once it has ended."""

    def __init__(self, place: Place, console: Console, run: str, timeout_seconds: float) -> None:
        self._place, self._console, self._timeout_seconds = place, console, timeout_seconds
        self._plans = plan_orders(_ORDERS, run)
        self.wrong: list[str] = []

    async def run(self, listener: socket.socket) -> None:
        """Raises Failure when a request is denied, or an order does not end in time."""
        self._say(f"Sagaline demo: {self._place.said}")
        async with demo_parts(self._place, listener.dup(), [checkout], []) as parts:
            await unless_ended(parts.shop.start_all(self._plans), parts)
        self._say(f"Version 1: {len(self._plans)} orders are open, and no worker runs.")
        refused = await self._gate(second_version(migrating=False))
        if len(refused) != len(self._plans):
            self.wrong.append(f"the deploy check rejected {len(refused)} of {len(self._plans)}")
        self._say(f"Version 2 without a migration: the deploy check rejects {len(refused)}: {_first(refused)}.")
        second = second_version(migrating=True)
        refused = await self._gate(second)
        self.wrong += refused
        self._say(f"Version 2 with a migration: the deploy check rejects {len(refused)}.")
        await self._take_over(listener, second)
        self._verdict()

    async def _gate(self, saga: Saga[CheckoutInCurrency]) -> list[str]:
        seen = await read_open(self._place.settings, None)
        registry = Registry([saga])
        found = [objection(registry, each, seen.history.get(id, [])) for id, each in seen.documents.items()]
        return [why for why in found if why is not None]

    async def _take_over(self, listener: socket.socket, second: Saga[CheckoutInCurrency]) -> None:
        wanted = [plan.instance for plan in self._plans]
        async with demo_parts(self._place, listener, [second], order_workers(self._place.ledger)) as parts:
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    await unless_ended(parts.shop.wait_for(wanted), parts)
            except TimeoutError:
                raise Failure(
                    f"not all have ended after {self._timeout_seconds:g} s; give more time with --timeout"
                ) from None
            orders = await parts.shop.details(wanted)
        for id, order in orders.items():
            ended = Status(order["status"])
            if (order["version"], ended) != (2, expected_end(order)):
                self.wrong.append(f"{id} is {ended} as version {order['version']}")
        counted = sum(order["status"] == Status.COMPLETED for order in orders.values())
        self._say(f"Version 2 took over: {counted} completed, {len(orders) - counted} compensated, all as version 2.")
        ledger = Ledger(self._place.ledger)
        self.wrong += [f"charged and neither shipped nor refunded: {each}" for each in ledger.open_charges()]
        self.wrong += [f"done more than once: {table} {key}" for table, key, _ in ledger.done_twice()]

    def _verdict(self) -> None:
        if self.wrong:
            self._console.print(Text("\nCHECK FAILED: " + "; ".join(self.wrong), style="bold red"), soft_wrap=True)
        else:
            checked = "rejected without a migration, accepted with one, every order ended as version 2"
            self._console.print(Text(f"\nCheck passed: {checked}.", style="bold green"), soft_wrap=True)

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)


def _first(reasons: list[str]) -> str:
    return reasons[0] if reasons else "nothing"
