"""The report: a table of outcomes, the undo of one order with its trace, and the check of the books."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from opentelemetry.sdk.trace import ReadableSpan
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ....workers.examples.ledger import OrderBooks
from ...messages.document import Status
from ..output import history_table, status_text
from ..remote import Json
from .scenario import expected_end, story_of
from .traces import draw

__all__ = ["Books", "Outcome", "print_outcomes", "print_trail", "verdict"]

_NAMED_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The effects that the workers recorded: by order, and those that were done more than once."""

    orders: Mapping[str, OrderBooks]
    open_charges: list[str]
    done_twice: list[tuple[str, str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended: the last known state of every order, the books, and the number of worker crashes."""

    orders: Mapping[str, Json]
    books: Books
    crashes: int

    @property
    def attempts_again(self) -> int:
        """The number of orders with a step that was sent more than once."""
        return sum(any(step["attempts"] > 1 for step in order["steps"]) for order in self.orders.values())


def print_outcomes(console: Console, outcome: Outcome) -> None:
    """One line per kind of failure and final status, with the entries of those orders in the books."""
    groups: Counter[tuple[str, str]] = Counter()
    sums: dict[tuple[str, str], Counter[str]] = {}
    for order in outcome.orders.values():
        group = (story_of(order), order["status"])
        groups[group] += 1
        books = outcome.books.orders.get(order["key"], OrderBooks(order["key"]))
        sums.setdefault(group, Counter()).update({name: getattr(books, name) for name in _BOOKS})
    table = Table(title="Outcomes", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("orders", justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("what happened")
    table.add_column("in the books")
    for (story, status), count in sorted(groups.items(), key=lambda group: (group[0][1], group[0][0])):
        booked = [f"{name} {number}" for name in _BOOKS if (number := sums[story, status][name])]
        table.add_row(str(count), status_text(status), story, ", ".join(booked) or "nothing")
    console.print(table)
    statuses = Counter(order["status"] for order in outcome.orders.values())
    counted = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    console.print(
        f"{len(outcome.orders)} orders: {counted or 'none'}; {outcome.attempts_again} with a repeated step; "
        f"a worker crashed {outcome.crashes} times and was restarted.",
        highlight=False,
    )


_BOOKS = ("reservations", "releases", "charges", "refunds", "bookings", "cancellations", "shipments")


def print_trail(console: Console, order: Json, history: list[Json], spans: list[ReadableSpan]) -> None:
    """Prints one compensated order: its decisions, and its trace as a tree."""
    console.print(Text(f"\nHow one order was undone: {story_of(order)}", style="bold"))
    console.print(history_table(order["id"], history))
    if order["trace_id"] and spans:
        console.print(Text("\nIts trace: the request, each decision, each handler", style="bold"))
        console.print(draw(order["trace_id"], spans))


def verdict(outcome: Outcome) -> list[str]:
    """The broken promises; empty: everything is as promised."""
    wrong = [
        f"charged and neither shipped nor refunded: {_named(outcome.books.open_charges)}"
        if outcome.books.open_charges
        else "",
        f"done more than once: {_named([f'{t} {key} ({n} times)' for t, key, n in outcome.books.done_twice])}"
        if outcome.books.done_twice
        else "",
    ]
    attention = [order["id"] for order in outcome.orders.values() if order["status"] == Status.ATTENTION]
    if attention:
        wrong.append(f"need attention: {_named(attention)}")
    surprising = [
        f"{order['id']} is {order['status']}"
        for order in outcome.orders.values()
        if order["status"] not in (expected_end(order), Status.ATTENTION)
    ]
    if surprising:
        wrong.append(f"ended differently than planned: {_named(surprising)}")
    return [text for text in wrong if text]


def _named(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    return ", ".join(names[:_NAMED_MAX]) + more
