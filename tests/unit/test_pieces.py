"""A long list in a document is written as if it were encoded whole, and each of its elements is encoded once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import TypeAdapter
from pydantic_core import to_json

from sagaline.orchestrator.codec.documents import decode_document, encode_document
from sagaline.orchestrator.codec.entities import decode_entity, encode_entity
from sagaline.orchestrator.codec.wire import DEPTH_MAX, Unsound
from sagaline.orchestrator.kernel import decide_entity
from sagaline.orchestrator.messages import pieces
from sagaline.orchestrator.messages.document import Document, Managed, StepEnded
from sagaline.orchestrator.messages.entities import Entity, KeptEvent, Mailbox, Parcel, ParcelStatus, Watcher
from sagaline.orchestrator.messages.entity_messages import EventDelivered, Published, mailbox_id
from sagaline.orchestrator.messages.inputs import Arrival, TimerFired
from sagaline.orchestrator.messages.parcels import Letter, Source

from .test_codec_golden import DOCUMENT
from .test_codec_sound import nested

BODY = {"text": 'é "kept":[] \\ \u2028', "number": 1e300, "none": None}


def delivered(id: str, body: object = BODY) -> EventDelivered:
    return EventDelivered(
        id=id,
        instance="d/k",
        place="",
        index=0,
        event="paid",
        event_id=id,
        body=body,  # type: ignore[arg-type]  # JSON
    )


EARLY = (delivered("e1"), TimerFired(id="t", instance="d/k", timer="due:timer", due_ms=7), StepEnded(place="first"))
KEPT = (
    KeptEvent(id="e1", body=BODY, until_ms=9),
    KeptEvent(id="e2", body={}, until_ms=9, taken_by=(Watcher(by="d/k", place="wait", index=0),)),
)
LETTERS = (Letter(id="g/t/0/1", topic="t", key="aw==", source=Source(topic="t", partition=0, offset=1)),)


@pytest.mark.parametrize("early", [(), EARLY], ids=["empty", "full"])
def test_the_queue_of_a_process_manager_is_written_as_a_part_of_its_document(early: tuple[EventDelivered, ...]) -> None:
    document = replace(DOCUMENT, managed=Managed(phase="open", early=early, runs={"early": 1}))
    written = encode_document(document)
    assert written == TypeAdapter(Document).dump_json(document)
    assert decode_document(written) == document


@pytest.mark.parametrize(
    "entity",
    [
        Mailbox(id="@mailbox/paid/k", event="paid", key="k"),
        Mailbox(id="@mailbox/paid/k", event="paid", key="k", kept=KEPT),
        Parcel(id="@parcel/g/k", group="g", status=ParcelStatus.PARKED, letters=LETTERS),
        Parcel(id="@parcel/g/k", group="g", status=ParcelStatus.RELEASED),
    ],
    ids=["empty mailbox", "mailbox", "parcel", "empty parcel"],
)
def test_the_long_list_of_an_entity_is_written_as_a_part_of_its_document(entity: Mailbox | Parcel) -> None:
    written = encode_entity(entity)
    assert written == TypeAdapter(type(entity)).dump_json(entity)
    assert decode_entity(written) == entity


def test_a_queue_is_written_as_deep_as_it_can_be_read() -> None:
    def document(levels: int) -> Document:
        return replace(DOCUMENT, managed=Managed(early=(delivered("e1", {"value": nested(levels)}),)))

    deepest = document(DEPTH_MAX - 5)
    assert decode_document(encode_document(deepest)) == deepest
    with pytest.raises(Unsound, match=f"more than {DEPTH_MAX} levels"):
        encode_document(document(DEPTH_MAX - 4))


def test_an_event_is_encoded_once_however_often_its_mailbox_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a thousand events of one key cost half a million encodings."""
    encoded: list[object] = []

    def counted(piece: object, **options: object) -> bytes:
        encoded.append(piece)
        return to_json(piece)

    monkeypatch.setattr(pieces, "to_json", counted)
    id = mailbox_id("paid", "k")
    box: Entity | None = None
    for number in range(50):
        event = Published(id=f"e{number}", instance=id, event="paid", key="k", body={"n": number}, keep_ms=1_000)
        box = decide_entity(box, Arrival(message=event, now_ms=1)).entity
        assert box is not None
        encode_entity(box)
    assert [piece.id for piece in encoded if isinstance(piece, KeptEvent)] == [f"e{number}" for number in range(50)]
