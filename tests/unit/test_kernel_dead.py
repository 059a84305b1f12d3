"""The entity of a dead letter: one redrive, whatever is asked and how often; and the parcel of a group's letter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sagaline.orchestrator.kernel import Limits, decide_entity
from sagaline.orchestrator.messages.dead import DeadAct, DeadRequest, dead_id, fingerprint, place_of_dead
from sagaline.orchestrator.messages.entities import DeadMark, DeadStatus, Entity, Parcel
from sagaline.orchestrator.messages.inputs import Arrival, Message, TimerFired
from sagaline.orchestrator.messages.outputs import Answer, Forward, Outcome, Tell
from sagaline.orchestrator.messages.parcels import (
    Handled,
    Letter,
    Posted,
    RetryPolicy,
    Source,
    parcel_id,
    parked_letter,
    single_id,
    to_base64,
)
from sagaline.orchestrator.messages.reasons import ReasonCode
from sagaline.orchestrator.ports.topics import DEAD_RETENTION_MS

NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000
ID = dead_id(3, 17)
LETTER = Letter(id=ID, topic="t.commands.pay", partition=1, key=to_base64(b"orders/A-1"), value=to_base64(b"{}"))
SOURCE = Source(topic="shop", partition=2, offset=5)


def ask(act: DeadAct, id: str = "r1", **more: object) -> DeadRequest:
    request = DeadRequest(id=id, instance=ID, act=act, dead_ms=NOW_MS, letter=LETTER, by="ann", reason="fixed")
    return replace(request, **more)  # type: ignore[arg-type]  # fields of the request


def decided(entity: Entity | None, message: Message, now_ms: int = NOW_MS) -> Answer:
    return decide_entity(entity, Arrival(message=message, now_ms=now_ms))


def mark_after(*requests: DeadRequest) -> DeadMark:
    mark: Entity | None = None
    for request in requests:
        mark = decided(mark, request).entity
    assert isinstance(mark, DeadMark)
    return mark


REDRIVE, EDIT, DISCARD = DeadAct


def test_a_redrive_writes_the_original_record_and_leaves_a_mark_that_says_who_and_why() -> None:
    letter = replace(LETTER, headers=(("a", "/w=="),))
    answer = decided(None, ask(REDRIVE, letter=letter))
    again = Forward(topic=LETTER.topic, partition=None, key=b"orders/A-1", value=b"{}", headers=(("a", b"\xff"),))
    assert answer.actions == (again,)
    mark = answer.entity
    assert isinstance(mark, DeadMark)
    assert (mark.status, mark.by, mark.reason, mark.at_ms) == (DeadStatus.REDRIVEN, "ann", "fixed", NOW_MS)


def test_a_record_without_a_key_goes_back_to_its_partition() -> None:
    (forward,) = decided(None, ask(REDRIVE, letter=replace(LETTER, key=None))).actions
    assert isinstance(forward, Forward)
    assert forward.partition == 1


@pytest.mark.parametrize("id", ["r1", "r2"])
def test_a_letter_is_redriven_once_whoever_asks_again(id: str) -> None:
    answer = decided(mark_after(ask(REDRIVE)), ask(REDRIVE, id))
    assert (answer.outcome, answer.actions) == (Outcome.UNCHANGED, ())


def test_a_discarded_letter_can_be_redriven_and_a_redriven_one_not_discarded_or_edited() -> None:
    discarded = mark_after(ask(DISCARD, letter=None))
    assert discarded.status is DeadStatus.DISCARDED
    assert decided(discarded, ask(DISCARD, "r2")).outcome is Outcome.UNCHANGED
    assert decided(discarded, ask(EDIT, "r2", value="QQ==")).outcome is Outcome.DENIED
    answer = decided(discarded, ask(REDRIVE, "r2"))
    assert (answer.outcome, len(answer.actions)) == (Outcome.APPLIED, 1)
    for act in (DISCARD, EDIT):
        denied = decided(answer.entity, ask(act, "r3", value="QQ=="))
        assert (denied.outcome, denied.code) == (Outcome.DENIED, ReasonCode.WRONG_STATUS)
        assert "by ann (fixed)" in denied.reason


def test_what_is_edited_is_redriven_instead_and_edits_add_up() -> None:
    edited = mark_after(ask(EDIT, value=to_base64(b"new")), ask(EDIT, "r2", headers=(("b", "Yg=="),)))
    assert edited.status is DeadStatus.OPEN
    answer = decided(edited, ask(REDRIVE, "r3"))
    (forward,) = answer.actions
    assert isinstance(forward, Forward)
    assert (forward.value, forward.headers) == (b"new", (("b", b"b"),))
    assert isinstance(answer.entity, DeadMark)
    assert answer.entity.edited == edited.edited


def test_an_edit_that_changes_nothing_or_gives_nothing_or_does_not_fit_leaves_no_mark() -> None:
    same = decided(None, ask(EDIT, value=LETTER.value))
    assert (same.entity, same.outcome, same.code) == (None, Outcome.UNCHANGED, ReasonCode.NOTHING_TO_CHANGE)
    nothing = decided(None, ask(EDIT))
    assert (nothing.entity, nothing.outcome, nothing.code) == (None, Outcome.DENIED, ReasonCode.INVALID)
    large = decided(None, ask(EDIT, value=to_base64(b"x" * 500_000)))
    assert (large.entity, large.outcome, large.code) == (None, Outcome.DENIED, ReasonCode.TOO_LARGE)
    assert decided(None, ask(REDRIVE, letter=None)).code is ReasonCode.INVALID


def test_the_mark_outlives_the_time_in_which_a_letter_can_be_redriven() -> None:
    assert Limits().dead_retention_ms == DEAD_RETENTION_MS
    mark = mark_after(ask(REDRIVE))
    ((timer, due_ms),) = mark.timers.items()
    assert due_ms > NOW_MS + DEAD_RETENTION_MS
    gone = decided(mark, TimerFired(id="x", instance=ID, timer=timer, due_ms=due_ms), due_ms)
    assert (gone.entity, gone.outcome, gone.actions) == (None, Outcome.APPLIED, ())
    late = decided(None, ask(REDRIVE), due_ms)
    assert (late.outcome, late.actions) == (Outcome.DENIED, ())
    assert "older than 90 days" in late.reason


# A letter of a group


def of_group(key: bytes | None = b"A-1") -> DeadRequest:
    letter = parked_letter("billing", SOURCE, key, b"v", ())
    return ask(REDRIVE, letter=letter, group="billing", redeliver_to="t.redelivered.billing.shop")


def test_a_letter_of_a_group_goes_to_the_parcel_of_its_key_and_nowhere_else() -> None:
    (told,) = decided(None, of_group()).actions
    assert isinstance(told, Tell)
    assert isinstance(told.message, Posted)
    assert (told.message.instance, told.message.again) == (parcel_id("billing", b"A-1"), True)
    (alone,) = decided(None, of_group(None)).actions
    assert isinstance(alone, Tell)
    assert alone.message.instance == single_id("billing", SOURCE)
    parcel = decided(None, told.message)
    (delivered,) = parcel.actions
    assert isinstance(delivered, Forward)
    assert (delivered.topic, delivered.partition, delivered.value) == ("t.redelivered.billing.shop", 2, b"v")


def posted_again() -> Posted:
    (told,) = decided(None, of_group()).actions
    assert isinstance(told, Tell)
    assert isinstance(told.message, Posted)
    return told.message


def parked(offset: int, *, handled: bool = False) -> Parcel:
    """A key whose first letter failed, parked; then handled after a redrive, so that it is released."""
    source = replace(SOURCE, offset=offset)
    post = Posted(
        id="p",
        instance=parcel_id("billing", b"A-1"),
        letter=parked_letter("billing", source, b"A-1", b"w", ()),
        group="billing",
        redeliver_to="t.redelivered.billing.shop",
        redeliver_partition=2,
        retry=RetryPolicy(max_attempts=2, first_ms=1, most_ms=1),
        error=None if handled else "Boom",
        park=not handled,
    )
    found = decided(None, post).entity
    if handled:
        found = decided(found, Handled(id="h", instance=post.instance, source=source, attempt=1, ok=True)).entity
    assert isinstance(found, Parcel)
    return found


@pytest.mark.parametrize("offset", [4, 5, 9])
def test_a_parcel_that_has_had_the_letter_takes_it_again_behind_what_waits(offset: int) -> None:
    before = parked(offset)
    after = decided(before, posted_again()).entity
    assert isinstance(after, Parcel)
    assert [letter.value for letter in after.letters] == [to_base64(b"w"), to_base64(b"v")]
    assert (after.retry, after.routes[0].last) == (before.retry, max(offset, SOURCE.offset))


@pytest.mark.parametrize("offset", [4, 5, 9])
def test_a_released_parcel_delivers_the_letter_and_releases_no_less_than_before(offset: int) -> None:
    answer = decided(parked(offset, handled=True), posted_again())
    (forward,) = answer.actions
    assert isinstance(forward, Forward)
    assert forward.value == b"v"
    assert isinstance(answer.entity, Parcel)
    assert answer.entity.routes[0].last == max(offset, SOURCE.offset)


def test_a_fingerprint_is_of_the_failure_without_numbers_ids_addresses_and_lines() -> None:
    one = 'File "shop/orders.py", line 17, in pay\nValueError: order A-1001 at 0x7f3a of ann@shop has 3 lines'
    other = 'File "shop/orders.py", line 21, in pay\nValueError: order B-7 at 0x1b of ann@shop  has 12 lines'
    assert fingerprint(one) == fingerprint(other) != fingerprint(one.replace("pay", "ship"))


@pytest.mark.parametrize("name", ["0-0", "3-17", "2147483647-9223372036854775807"])
def test_the_name_of_a_letter_is_its_place(name: str) -> None:
    place = place_of_dead(name)
    assert place is not None
    assert dead_id(*place) == f"@dead/{name}"


@pytest.mark.parametrize("name", ["", "3", "03-1", "3-", "-1-2", "3-1-1", "٣-1", "3-1\n"])
def test_other_names_are_no_place(name: str) -> None:
    assert place_of_dead(name) is None


def of_inputs(*types: str) -> Letter:
    """A letter of a request to the engine."""
    headers = tuple(("ce_type", to_base64(each.encode()) or "") for each in types)
    return replace(LETTER, topic="t.inputs", headers=headers)


@pytest.mark.parametrize("kind", ["sagaline.start", "sagaline.entity.published", "sagaline.reply.completed"])
def test_contents_of_starts_events_and_replies_can_be_repaired_but_not_what_they_are(kind: str) -> None:
    letter = of_inputs(kind)
    more = (*letter.headers, ("ce_commandid", "QQ=="))
    assert decided(None, ask(EDIT, letter=letter, value=to_base64(b"new"), headers=more)).outcome is Outcome.APPLIED
    for headers in (of_inputs("sagaline.act").headers, (), (*letter.headers, *of_inputs("sagaline.act").headers)):
        forged = decided(None, ask(EDIT, letter=letter, headers=headers))
        assert (forged.entity, forged.outcome, forged.code) == (None, Outcome.DENIED, ReasonCode.INVALID)
        assert "says what it is and cannot be edited" in forged.reason


@pytest.mark.parametrize(
    "types", [(), ("odd",), ("sagaline.act",), ("sagaline.entity.set_rules",), ("sagaline.start", "sagaline.act")]
)
def test_no_other_request_to_the_engine_becomes_another_one(types: tuple[str, ...]) -> None:
    forged = decided(None, ask(EDIT, letter=of_inputs(*types), value=to_base64(b"new")))
    assert (forged.entity, forged.outcome, forged.code) == (None, Outcome.DENIED, ReasonCode.INVALID)
    assert "only starts, events and replies can be edited" in forged.reason


def test_what_is_signed_as_ours_is_not_edited() -> None:
    letter = replace(LETTER, topic="t.webhooks")
    assert "it is signed as ours" in decided(None, ask(EDIT, letter=letter, value=to_base64(b"new"))).reason


@pytest.mark.parametrize("id", ["@mailbox/placed/K", "@table/access.keys", "@parcel/a/b", "@lock/x", "@schedule/x"])
def test_a_request_about_a_dead_letter_is_decided_by_dead_letters_only(id: str) -> None:
    """An entity that does not exist yet would take it, and forward whatever it names."""
    answer = decided(None, ask(REDRIVE, instance=id))
    assert (answer.entity, answer.outcome, answer.code) == (None, Outcome.IGNORED, ReasonCode.MISDIRECTED)
    assert answer.actions == ()
