"""Every filter that the API documents, as the statement it comes to, and the index columns that must serve it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from sqlalchemy import Select

from sagaline.orchestrator.adapters.read_model import letters, statements
from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.ports.read_model import (
    WAITED,
    Comparison,
    Condition,
    EntityFilter,
    InstanceFilter,
    LetterFilter,
    OperationFilter,
    Sort,
    SortBy,
    Span,
    WaitFilter,
    WaitKind,
)

__all__ = ["LOG", "QUERIES"]

LOG = 1

Query = tuple[Select[Any], tuple[str, ...]]


def instances() -> Iterator[tuple[str, Query]]:
    for definition, status, key, cursor in product((None, "order-3"), (None, Status.RUNNING), (None, "A-7"), (0, 1)):
        where = InstanceFilter(definition, (status,) if status else (), key)
        after = (5_000, "order-3/A-9") if cursor else None
        names = [name for name, value in zip(("definition", "status"), (definition, status), strict=True) if value]
        served = ("log", "key") if key else ("log", *names)
        name = "instances by " + " and ".join([*names, *(["key"] if key else [])] or ["nothing"])
        yield f"{name}{' behind a cursor' if cursor else ''}", (statements.instances(LOG, where, after, 51), served)


def found() -> Iterator[tuple[str, Query]]:
    """By what has no column, and by the time of the start."""
    paid = Condition("paid", Comparison.EQUAL, "yes-7")
    several = InstanceFilter("order-3", (Status.RUNNING,), attributes=(paid,), is_overdue=True, is_paused=False)
    asked = {
        "a searchable field": InstanceFilter(attributes=(paid,)),
        "a reason": InstanceFilter(code="code-7"),
        "overdue": InstanceFilter(is_overdue=True),
        "several terms and columns": several,
    }
    for (name, where), cursor in product(asked.items(), (0, 1)):
        after = (5_000, "order-3/A-9") if cursor else None
        statement = statements.instances(LOG, where, after, 51)
        yield f"instances by {name}{' behind a cursor' if cursor else ''}", (statement, ("log", "term"))
    for sign in (Comparison.AT_LEAST, Comparison.PREFIX):
        ranged = InstanceFilter(attributes=(Condition("paid", sign, "yes-7"),))
        yield f"instances of several values: {sign}", (statements.instances(LOG, ranged, None, 51), ("log",))
        both = InstanceFilter("order-3", attributes=(paid, *ranged.attributes))
        yield f"instances of several terms: = and {sign}", (statements.instances(LOG, both, None, 51), ("log", "term"))
    for definition in (None, "order-3"):
        within = InstanceFilter(definition, started=Span(4_000, 6_000))
        served = ("log", *(("definition",) if definition else ()), "created_ms")
        yield f"instances by {definition} and start", (statements.instances(LOG, within, None, 51), served)
    version = InstanceFilter("order-3", version=1)
    yield "instances of a version", (statements.instances(LOG, version, None, 51), ("log", "definition", "version"))


def in_order() -> Iterator[tuple[str, Query]]:
    """Each order alone is an index."""
    for by, ascending, cursor in product(SortBy, (False, True), (0, 1)):
        sort = Sort(by, ascending)
        after = (*_PLACES[by], 5_000, "order-3/A-9") if cursor else None
        statement = statements.instances(LOG, InstanceFilter(), after, 51, sort)
        name = f"instances in the order of {by}{' ascending' if ascending else ''}"
        yield f"{name}{' behind a cursor' if cursor else ''}", (statement, ("log",))


_PLACES: dict[SortBy, tuple[int | str, ...]] = {
    SortBy.CREATED: (),
    SortBy.UPDATED: (5_000,),
    SortBy.DEFINITION: ("order-3",),
    SortBy.VERSION: ("order-3", 1),
    SortBy.KEY: ("A-7",),
    SortBy.STATUS: ("running",),
}


def waits() -> Iterator[tuple[str, Query]]:
    asked: tuple[tuple[WaitKind, str | None], ...] = (
        (WaitKind.OVERDUE, None),
        (WaitKind.QUESTION, None),
        (WaitKind.QUESTION, "ann"),
    )
    for (kind, who), definition, cursor in product(asked, (None, "order-3"), (0, 1)):
        after = (5_000, "order-3/A-9", "approve") if cursor else None
        served = ("log", "kind", "who", *(("definition",) if definition else ()))
        name = f"{kind}{' of one' if who else ''}{' by definition' if definition else ''}"
        statement = statements.waits(LOG, WaitFilter(kind, definition, who), after, 201)
        yield f"{name}{' behind a cursor' if cursor else ''}", (statement, served)


def others() -> Iterator[tuple[str, Query]]:
    for newest_first, name in ((False, "history"), (True, "history from its end")):
        yield name, (statements.history(LOG, "order-3/A-7", 50, newest_first), ("log", "instance", "sequence"))
    yield "history by place", (statements.decisions(LOG, 3, 5_000, 501), ("log", "part", "sequence"))
    for prefix, status, cursor in product(("@lock/", "@mailbox/paid/"), (None, WAITED), (0, 1)):
        after = (f"{prefix}9",) if cursor else None
        statement = statements.entities(LOG, EntityFilter(prefix, status), after, 51)
        served = ("log", "status", "id") if status else ("log", "id")
        name = f"{prefix}{' waited' if status else ''}{' behind a cursor' if cursor else ''}"
        yield name, (statement, served)


def operations() -> Iterator[tuple[str, Query]]:
    filters: dict[str, tuple[OperationFilter, tuple[str, ...]]] = {
        "": (OperationFilter(), ()),
        " of one person": (OperationFilter("who-7"), ("who",)),
        " on one target": (OperationFilter(target="order-3/A-9"), ("instance",)),
        " of one kind": (OperationFilter(act="skip"), ("act",)),
    }
    for (name, (where, served)), cursor in product(filters.items(), (0, 1)):
        statement = statements.operations(LOG, where, (5_000, "order-3/A-9", 7) if cursor else None, 51)
        yield f"operations{name}{' behind a cursor' if cursor else ''}", (statement, ("log", *served))


def dead_letters() -> Iterator[tuple[str, Query]]:
    for column, cursor in product(("", "topic", "fingerprint", "key"), (0, 1)):
        where = LetterFilter(**{column: "A-7"}) if column else LetterFilter()  # type: ignore[arg-type]  # all are texts
        after = (5_000, 1, 9) if cursor else None
        statement = letters.letters(LOG, where, after, 51, oldest_first=False)
        name = f"dead letters{f' by {column}' if column else ''}{' behind a cursor' if cursor else ''}"
        yield name, (statement, ("log", *([column] if column else [])))
    statement = letters.letters(LOG, LetterFilter(), (1, 9), 51, oldest_first=True)
    yield "dead letters in the order of their topic", (statement, ("log",))
    yield "a dead letter", (letters.letter(LOG, 1, 9), ("log", "part", "place"))


QUERIES = dict((*instances(), *found(), *in_order(), *waits(), *others(), *operations(), *dead_letters()))
