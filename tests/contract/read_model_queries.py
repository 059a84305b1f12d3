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
    EntityFilter,
    InstanceFilter,
    LetterFilter,
    WaitFilter,
    WaitKind,
)

__all__ = ["LOG", "QUERIES"]

LOG = 1

Query = tuple[Select[Any], tuple[str, ...]]


def instances() -> Iterator[tuple[str, Query]]:
    for definition, status, key, cursor in product((None, "order-3"), (None, Status.RUNNING), (None, "A-7"), (0, 1)):
        where = InstanceFilter(definition, status, key)
        after = (5_000, "order-3/A-9") if cursor else None
        names = [name for name, value in zip(("definition", "status"), (definition, status), strict=True) if value]
        served = ("log", "key") if key else ("log", *names)
        name = "instances by " + " and ".join([*names, *(["key"] if key else [])] or ["nothing"])
        yield f"{name}{' behind a cursor' if cursor else ''}", (statements.instances(LOG, where, after, 51), served)


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
    yield "history", (statements.history(LOG, "order-3/A-7", -1, 101), ("log", "instance", "sequence"))
    yield "history by place", (statements.decisions(LOG, 3, 5_000, 501), ("log", "part", "sequence"))
    for prefix, status, cursor in product(("@lock/", "@mailbox/paid/"), (None, WAITED), (0, 1)):
        after = (f"{prefix}9",) if cursor else None
        statement = statements.entities(LOG, EntityFilter(prefix, status), after, 51)
        served = ("log", "status", "id") if status else ("log", "id")
        name = f"{prefix}{' waited' if status else ''}{' behind a cursor' if cursor else ''}"
        yield name, (statement, served)


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


QUERIES = dict((*instances(), *waits(), *others(), *dead_letters()))
