"""What docs/wire-format.md tells about parcels and schedules, held against the code."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

from sagaline.orchestrator.kernel import Limits
from sagaline.orchestrator.messages.entities import Fired, Parcel, ParcelStatus, Period, Route, Schedule
from sagaline.orchestrator.messages.parcels import (
    ATTEMPT,
    PARCEL,
    RELEASE,
    SOURCE,
    TIMESTAMP,
    Handled,
    Letter,
    Posted,
    RetryPolicy,
    Source,
)
from sagaline.orchestrator.messages.schedules import Plan
from sagaline.sagas.calendar import Calendar
from tests.repo.test_wire_format import PAGE

SECTION = PAGE[PAGE.index("\n## Parcels\n") : PAGE.index("\n## Starting a flow\n")]
DOCUMENT = PAGE[PAGE.index("### The document of a parcel") :].split("\n### ")[0]
SCHEDULE = PAGE[PAGE.index("### The document of a schedule") :].split("\n### ")[0]
IN_HEADERS = {"id", "instance", "traceparent", "kind"}


def field_names(kind: type[Any]) -> set[str]:
    return {each.name for each in fields(kind)}


def named(text: str) -> set[str]:
    return set(re.findall(r"`([a-z_-]+)`", text)) | set(re.findall(r'"(\w+)": ', text))


def row(kind: str) -> str:
    return next(line for line in SECTION.splitlines() if line.startswith(f"| `{kind}`"))


def test_the_page_names_every_field_of_a_letter_and_of_the_messages_of_its_group() -> None:
    assert field_names(Posted) - IN_HEADERS <= named(row("sagaline.entity.posted"))
    assert field_names(Handled) - IN_HEADERS <= named(row("sagaline.entity.handled"))
    text = SECTION[SECTION.index("\nA letter: ") :].split("\n\n")[0]
    assert field_names(Letter) | field_names(Source) | field_names(RetryPolicy) <= named(text)


def test_the_page_lists_every_header_of_a_redelivery_and_of_a_release() -> None:
    table = SECTION[SECTION.index("| header |") :].split("\n\n")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.M) == [PARCEL, SOURCE, ATTEMPT, TIMESTAMP, RELEASE]


def test_the_page_states_the_limits_of_a_parcel() -> None:
    limits = Limits()
    assert f"at most {limits.letters_max:,} letters, and a parcel {limits.document_bytes:,} bytes" in SECTION
    assert f"is kept for {limits.released_retention_ms // 86_400_000} days" in SECTION


def test_the_page_names_every_field_of_a_parcels_document() -> None:
    first = [line.split("|")[1] for line in DOCUMENT.splitlines() if line.startswith("| `")]
    assert named(" ".join(first)) == field_names(Parcel)
    assert field_names(Route) <= named(DOCUMENT)
    assert set(ParcelStatus) <= named(DOCUMENT)


def test_the_page_names_every_field_of_a_schedules_document() -> None:
    assert {name for kind in (Schedule, Plan, Calendar, Fired, Period) for name in field_names(kind)} <= named(SCHEDULE)
