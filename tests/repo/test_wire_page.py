"""What docs/wire-format.md tells the authors of workers and clients, sentence by sentence, held against the code."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pytest

from sagaline.orchestrator.adapters.kafka_log.position import write_mark
from sagaline.orchestrator.codec.commands import decode_command
from sagaline.orchestrator.codec.inputs import decode_input
from sagaline.orchestrator.codec.wire import BODY_DEPTH_MAX, DEPTH_MAX, BadRecord
from sagaline.orchestrator.kernel import decide
from sagaline.orchestrator.messages.document import Cause, Document, Managed, Status, StepRecord
from sagaline.orchestrator.messages.entity_messages import Published
from sagaline.orchestrator.messages.history import HistoryRecord, SentCommand
from sagaline.orchestrator.messages.inputs import Arrival, Completed, Failed, Rejected, Start
from sagaline.orchestrator.messages.outputs import Change, DeadLetter, Outcome
from sagaline.orchestrator.messages.reasons import ReasonCode
from sagaline.orchestrator.messages.values import Parent
from sagaline.orchestrator.ports.log import Position, Record, TopicPartition
from sagaline.orchestrator.ports.topics import Topics
from tests.repo.test_wire_format import PAGE, as_record, examples
from tests.unit.kernel_kit import Play, play

COMMAND, REPLY = examples()
DAY_MS = 86_400_000


def rows(under: str) -> list[list[str]]:
    """The rows of the first table below a heading, without its head."""
    section = PAGE[PAGE.index(f"\n{under}\n") :]
    table = section[section.index("\n| ") + 1 :].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def named(under: str) -> set[str]:
    return {name for row in rows(under) for name in names(row[0])}


def field_names(kind: type[Any]) -> set[str]:
    return {each.name for each in fields(kind)}


def without(example: Mapping[str, Any], header: str) -> Record:
    headers = {name: value for name, value in example["headers"].items() if name != header}
    return as_record({**example, "headers": headers})


def request(kind: str, key: str, body: object, **headers: str) -> Record:
    all_headers = {"ce_type": kind, "ce_id": "r-1", **headers}
    return as_record({"topic": "sagaline.inputs", "key": key, "headers": all_headers, "value": body})


def test_each_topic_is_kept_as_long_as_the_page_says() -> None:
    kept = {names(row[0])[0]: (row[3], row[4]) for row in rows("## Topics")}
    for spec in Topics().specs(["<queue>"], 4):
        assert kept[spec.name] == (spec.policy, kept_for(spec.retention_ms))


def kept_for(retention_ms: int | None) -> str:
    if retention_ms is None:
        return "for ever"
    return "1 hour" if retention_ms == DAY_MS // 24 else f"{retention_ms // DAY_MS} days"


def headers_that_must(be_there: bool) -> list[tuple[str, str]]:
    """(example, header) for each header that the table says must, or need not, be on it."""
    found = []
    for row in rows("## Records"):
        for name in names(row[0]):
            for kind, example in (("command", COMMAND), ("reply", REPLY)):
                must = row[2] == "yes" or row[2] == f"on {kind}s"
                if name in example["headers"] and must is be_there:
                    found.append((kind, name))
    return found


def why_not(record: Record, *, command: bool = False) -> str:
    """The reason of the dead letter or of the failed attempt that a record becomes; empty: it is taken."""
    try:
        found = decode_command(record) if command else decode_input(record)
    except BadRecord as error:
        return str(error)
    return found.error if isinstance(found, Failed) else ""


@pytest.mark.parametrize(("kind", "header"), headers_that_must(be_there=True))
def test_a_record_without_a_header_that_must_be_there_is_not_taken(kind: str, header: str) -> None:
    record = without(COMMAND if kind == "command" else REPLY, header)
    assert header in why_not(record, command=kind == "command")


@pytest.mark.parametrize(("kind", "header"), headers_that_must(be_there=False))
def test_a_record_without_a_header_that_need_not_be_there_is_taken(kind: str, header: str) -> None:
    record = without(COMMAND if kind == "command" else REPLY, header)
    assert why_not(record, command=kind == "command") == ""


def test_an_attribute_that_comes_twice_makes_a_record_unusable_and_another_header_does_not() -> None:
    record = as_record(COMMAND)
    with pytest.raises(BadRecord, match="ce_attempt"):
        decode_command(record._replace(headers=(*record.headers, ("ce_attempt", b"3"))))
    decode_command(record._replace(headers=(*record.headers, ("x", b"1"), ("x", b"2"))))


def test_structured_mode_is_a_dead_letter_whose_reason_says_so() -> None:
    with pytest.raises(BadRecord, match="structured mode"):
        decode_input(request("sagaline.start", "d/k", {}, **{"content-type": "application/cloudevents+json"}))


BODIES: list[tuple[str, str, dict[str, Any], set[str]]] = [
    ("sagaline.reply.rejected", "d/k", {"reason": "no", "code": "no"}, set()),
    ("sagaline.reply.failed", "d/k", {"error": "boom", "detail": "trace"}, {"detail"}),
    (
        "sagaline.start",
        "d/k",
        {"definition": "d", "key": "k", "input": {}, "version": 1, "conflict": "queue"},
        {"version", "conflict"},
    ),
    (
        "sagaline.act",
        "d/k",
        {"act": "cancel", "by": "ann", "groups": ["risk"], "reason": "x", "expected": "x-1"},
        {"by", "expected", "groups", "reason"},
    ),
    (
        "sagaline.entity.published",
        "@mailbox/paid/k",
        {"event": "paid", "key": "k", "body": {}, "keep_ms": 0, "source": "x", "to": []},
        {"source", "to"},
    ),
]


@pytest.mark.parametrize(("kind", "key", "body", "optional"), BODIES, ids=[body[0] for body in BODIES])
def test_the_fields_in_brackets_may_be_left_out_and_no_others(
    kind: str, key: str, body: dict[str, Any], optional: set[str]
) -> None:
    row = next(row for row in rows_of_types() if names(row[0]) == [kind])
    bracketed = set(re.findall(r'\["(\w+)": ', row[1]))
    assert bracketed == optional
    assert set(re.findall(r'"(\w+)": ', row[1].split("`")[1])) == set(body)
    for name in body:
        rest = {field: value for field, value in body.items() if field != name}
        reason = why_not(request(kind, key, rest, ce_commandid="d/k/a/1"))
        assert (name not in reason) if name in optional else (name in reason)


def rows_of_types() -> list[list[str]]:
    section = PAGE[PAGE.index("| `ce_type` | value;") :]
    return [[cell.strip() for cell in line.strip("|").split(" | ", 1)] for line in section.splitlines()[2:10]]


def test_a_field_that_is_not_named_is_ignored() -> None:
    body = {"definition": "d", "key": "k", "input": {}, "more": 1}
    assert isinstance(decode_input(request("sagaline.start", "d/k", body)), Start)


@pytest.mark.parametrize(("field", "value"), [("version", True), ("version", "1"), ("keep_ms", -1), ("keep_ms", "5")])
def test_version_and_keep_ms_are_whole_numbers(field: str, value: object) -> None:
    start = {"definition": "d", "key": "k", "input": {}}
    event = {"event": "paid", "key": "k", "body": {}, "keep_ms": 0}
    kind, key, body = ("sagaline.start", "d/k", start) if field == "version" else ("", "@mailbox/paid/k", event)
    with pytest.raises(BadRecord, match=field):
        decode_input(request(kind or "sagaline.entity.published", key, {**body, field: value}))


def test_an_event_on_another_key_than_its_own_is_a_dead_letter() -> None:
    event = {"event": "paid", "key": "k", "body": {}, "keep_ms": 0}
    assert isinstance(decode_input(request("sagaline.entity.published", "@mailbox/paid/k", event)), Published)
    with pytest.raises(BadRecord, match="key"):
        decode_input(request("sagaline.entity.published", "@mailbox/paid/other", event))


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def test_a_reply_has_as_many_levels_as_the_page_says() -> None:
    assert f"at most {BODY_DEPTH_MAX} levels of objects and lists, everything else at most {DEPTH_MAX}" in PAGE
    record = as_record(REPLY)
    assert isinstance(decode_input(record._replace(value=nested(BODY_DEPTH_MAX))), Completed)
    assert isinstance(decode_input(record._replace(value=nested(BODY_DEPTH_MAX + 1))), Failed)


@pytest.mark.parametrize(
    "value", [b"[]", b"{", b'{"a":NaN}', b"\xff", nested(100), b'{"a":"' + b"x" * 1_000_000 + b'"}']
)
def test_a_reply_that_cannot_be_used_is_a_failed_attempt_if_it_names_its_command(value: bytes) -> None:
    record = as_record(REPLY)._replace(value=value)
    found = decode_input(record, 1_000_000)
    assert isinstance(found, Failed)
    assert found.command_id == COMMAND["headers"]["ce_id"]
    nameless = record._replace(headers=tuple(each for each in record.headers if each[0] != "ce_commandid"))
    with pytest.raises(BadRecord):
        decode_input(nameless, 1_000_000)


def test_ids_are_made_as_the_page_says() -> None:
    effect_key = COMMAND["headers"]["ce_effectkey"]
    assert re.fullmatch(r"order-checkout/A-1001/charge~[a-z0-9]{8}", effect_key)
    assert COMMAND["headers"]["ce_id"] == f"{effect_key}/{COMMAND['headers']['ce_attempt']}"
    driver = compensating()
    life = driver.document.incarnation
    assert [command.id for command in driver.sent] == [
        f"demo/k/a~{life}/1",
        f"demo/k/b~{life}/1",
        f"demo/k/a~{life}/undo/1",
    ]
    assert {command.effect_key for command in driver.sent} == {f"demo/k/a~{life}", f"demo/k/b~{life}"}


def compensating() -> Play:
    """a is done, b was refused: the undo of a is under way."""
    driver = play()
    driver.ok("a")
    driver.reject("b")
    assert driver.status == "compensating"
    return driver


def test_two_lives_of_one_key_have_different_effect_keys() -> None:
    one, other = play(), Play(play().definition, now_ms=9_000_000)
    other.start()
    assert one.sent[0].effect_key != other.sent[0].effect_key


def test_a_do_that_is_refused_begins_compensation_and_counts_as_not_done_unless_it_was_tried_before() -> None:
    driver = compensating()
    assert driver.statuses["b"] == "rejected"
    again = play()
    again.fail("a")
    again.fire("a:retry")
    again.reject("a")
    assert again.statuses["a"] == "undo_sent", "an earlier attempt may have taken effect"


def test_an_undo_that_is_refused_puts_the_instance_into_attention() -> None:
    driver = compensating()
    driver.reject("a", undo=True)
    assert driver.status == "attention"


def test_an_undos_reply_that_does_not_fit_its_contract_is_a_failed_attempt() -> None:
    driver = compensating()
    driver.ok("a", undo=True, reply={"something": "else"})
    assert driver.statuses["a"] == "undo_backoff"


def test_a_late_repeated_or_stray_reply_is_ignored() -> None:
    driver = play()
    first = driver.sent[0].id
    driver.ok("a")
    repeated = Completed(id="x", instance="demo/k", command_id=first, reply={"ok": True})
    assert driver.apply(repeated).outcome is Outcome.IGNORED
    stray = Rejected(id="y", instance="demo/k", command_id="demo/k/z~aaaaaaaa/1", reason="no", code="no")
    assert driver.apply(stray).outcome is Outcome.IGNORED


def again(driver: Play, input: dict[str, Any]) -> Outcome:
    start = Start(id="again", definition="demo", key="k", input=input)
    return decide(driver.definition, driver.document, Arrival(message=start, now_ms=driver.now_ms)).outcome


def test_the_same_input_is_the_same_json_before_defaults() -> None:
    driver = play()
    assert again(driver, {"n": 1}) is Outcome.UNCHANGED
    assert again(driver, {"n": 1, "a": None}) is Outcome.DENIED, "a default that is written out is another input"
    other = Play(driver.definition)
    other.start({"n": 1, "a": None})
    assert again(other, {"a": None, "n": 1}) is Outcome.UNCHANGED, "the order of fields does not count"


def test_a_start_that_is_refused_for_its_content_is_a_dead_letter_too() -> None:
    start = Start(id="s", definition="demo", key="k", input={"n": "none"})
    decision = decide(play().definition, None, Arrival(message=start, now_ms=1))
    assert decision.outcome is Outcome.DENIED
    assert any(isinstance(action, DeadLetter) for action in decision.actions)


def test_a_start_whose_definition_is_not_deployed_is_deferred() -> None:
    start = Start(id="s", definition="demo", key="k", input={"n": 1})
    assert decide(None, None, Arrival(message=start, now_ms=1)).outcome is Outcome.DEFERRED


def test_the_page_names_every_field_of_a_document_and_of_a_step() -> None:
    assert named("### The document of an instance, on `state`") == field_names(Document)
    text = PAGE[PAGE.index("\nA step: ") :].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", text)) == field_names(StepRecord)
    body = PAGE[PAGE.index("### The document") : PAGE.index("### A decision")]
    for status in Status:
        assert f"`{status.value}`" in body
    for kind in (Cause, Parent, Managed):
        assert field_names(kind) <= set(re.findall(r"`(\w+)`", body)), kind


def test_the_page_names_every_field_of_a_decision() -> None:
    heading = "### A decision, on `history`"
    assert named(heading) == field_names(HistoryRecord)
    text = PAGE[PAGE.index(heading) :]
    assert field_names(Change) | field_names(SentCommand) <= set(re.findall(r"`(\w+)`", text))


def test_the_page_names_every_code() -> None:
    """In the table; a code that is not known any more is none."""
    table = PAGE[PAGE.index("| `code` | used for |") : PAGE.index("### The position")]
    first = [line.split("|")[1] for line in table.splitlines()[2:] if line.startswith("|")]
    assert sorted(re.findall(r"`([a-z-]+)`", "".join(first))) == sorted(ReasonCode)


def test_the_page_names_every_field_of_the_position() -> None:
    mark = json.loads(write_mark(Position(1, 2), [TopicPartition("t", 0)]))
    text = PAGE[PAGE.index("### The position") :]
    assert set(mark) == set(re.findall(r"`(\w+)`", text)) - {"state", "inputs"}
