"""Poison: whatever bytes arrive, the codec answers with a value or with ``BadRecord``, and with nothing else."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sagaline.orchestrator.codec.commands import decode_command
from sagaline.orchestrator.codec.documents import (
    decode_document,
    decode_history,
    encode_history,
    request_of,
)
from sagaline.orchestrator.codec.formats import NewerFormat
from sagaline.orchestrator.codec.inputs import decode_input, encode_request
from sagaline.orchestrator.codec.wire import BadRecord
from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.messages.history import HistoryRecord, SentCommand
from sagaline.orchestrator.messages.inputs import Act, ActName, Completed, Failed, Message, Rejected, Start, TimerFired
from sagaline.orchestrator.messages.outputs import Change, Outcome
from sagaline.orchestrator.messages.reasons import ReasonCode
from sagaline.orchestrator.ports.log import Headers, Outgoing, Record

GOLDEN = (Path(__file__).parents[1] / "golden" / "document-format-1.json").read_bytes()
QUIET = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])

KINDS = [
    "sagaline.start",
    "sagaline.act",
    "sagaline.reply.completed",
    "sagaline.reply.rejected",
    "sagaline.reply.failed",
]
BODIES: dict[str, dict[str, object]] = {
    "sagaline.start": {"definition": "d", "key": "k", "input": {}},
    "sagaline.act": {"act": "cancel"},
    "sagaline.reply.completed": {},
    "sagaline.reply.rejected": {"reason": "no", "code": "no"},
    "sagaline.reply.failed": {"error": "boom"},
}


def record(value: bytes | None, *, key: bytes | None = b"d/k", headers: Headers = ()) -> Record:
    return Record("sagaline.inputs", 0, 7, key, value, headers, 1)


def headers_of(kind: str, **changed: bytes | None) -> Headers:
    """Sound headers of a message, with some of them changed or (None) left out."""
    sound: dict[str, bytes | None] = {"ce_id": b"i", "ce_type": kind.encode(), "ce_commandid": b"d/k/a/1", **changed}
    return tuple((name, value) for name, value in sound.items() if value is not None)


def sound(kind: str) -> bytes:
    return json.dumps(BODIES[kind]).encode()


def deep(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


POISON: dict[str, tuple[Record, str]] = {
    "no value": (record(None, headers=headers_of(KINDS[0])), "the record has no value"),
    "empty": (record(b"", headers=headers_of(KINDS[0])), "the value is not JSON"),
    "not JSON": (record(b"{nope", headers=headers_of(KINDS[0])), "the value is not JSON"),
    "bad UTF-8": (record(b'{"a":"\xff"}', headers=headers_of(KINDS[2])), "the value is not JSON"),
    "half a character": (record(b'{"a":"\\ud800"}', headers=headers_of(KINDS[2])), "the value is not JSON"),
    "NaN": (record(b'{"a":NaN}', headers=headers_of(KINDS[2])), "the value is not JSON"),
    "infinity": (record(b'{"a":-Infinity}', headers=headers_of(KINDS[2])), "the value is not JSON"),
    "an endless number": (
        record(b'{"a":' + b"9" * 10_000 + b"}", headers=headers_of(KINDS[2])),
        "the value is not JSON",
    ),
    "too deep": (
        record(deep(100_000), headers=headers_of(KINDS[2])),
        "the value cannot be kept: it has more than 64 levels of objects and lists; send it flatter",
    ),
    "deeper than what is kept": (
        record(deep(65), headers=headers_of(KINDS[0])),
        "the value cannot be kept: it has more than 64 levels of objects and lists; send it flatter",
    ),
    "a list": (record(b"[]", headers=headers_of(KINDS[2])), "the value is not a JSON object"),
    "a number": (record(b"1", headers=headers_of(KINDS[2])), "the value is not a JSON object"),
    "no key": (record(b"{}", key=None, headers=headers_of(KINDS[2])), "the record has no key"),
    "empty key": (record(b"{}", key=b"", headers=headers_of(KINDS[2])), "the record has no key"),
    "key not UTF-8": (record(b"{}", key=b"\xff", headers=headers_of(KINDS[2])), "the record's key is not UTF-8"),
    "key with controls": (
        record(b"{}", key=b"d/\x00", headers=headers_of(KINDS[2])),
        "the record's key has a control character",
    ),
    "key too long": (
        record(b"{}", key=b"d/" + b"k" * 3_000, headers=headers_of(KINDS[2])),
        "the record's key has 3,002",
    ),
    "no headers": (record(b"{}"), "header ce_type is missing"),
    "no type": (record(b"{}", headers=headers_of("", ce_type=None)), "header ce_type is missing"),
    "empty type": (record(b"{}", headers=headers_of("")), "header ce_type is missing"),
    "unknown type": (record(b"{}", headers=headers_of("x")), "ce_type 'x' is not known to this version"),
    "type not UTF-8": (record(b"{}", headers=headers_of("", ce_type=b"\xff")), "header ce_type is not UTF-8"),
    "no id": (record(b"{}", headers=headers_of(KINDS[2], ce_id=None)), "header ce_id is missing"),
    "no command id": (record(b"{}", headers=headers_of(KINDS[2], ce_commandid=None)), "header ce_commandid is missing"),
    "no definition": (
        record(b"{}", headers=headers_of(KINDS[0])),
        "sagaline.start: definition: the field is missing, add it",
    ),
    "input is a list": (
        record(b'{"definition":"d","key":"k","input":[]}', headers=headers_of(KINDS[0])),
        "sagaline.start: input: Input should be a valid dictionary",
    ),
    "another key": (
        record(sound(KINDS[0]), key=b"d/other", headers=headers_of(KINDS[0])),
        "the record's key is 'd/other', its body starts 'd/k'",
    ),
    "unknown act": (
        record(b'{"act":"explode"}', headers=headers_of(KINDS[1])),
        "sagaline.act: act: Input should be 'cancel', 'pause', 'resume', 'retry', 'abandon', 'answer', 'claim', "
        "'assign', 'skip', 'revise', 'waive', 'edit', 'replace-undo', 'restart' or 'fork'",
    ),
    "no reason": (
        record(b'{"code":"x"}', headers=headers_of(KINDS[3])),
        "sagaline.reply.rejected: reason: the field is missing, add it",
    ),
    "no error": (
        record(b"{}", headers=headers_of(KINDS[4])),
        "sagaline.reply.failed: error: the field is missing, add it",
    ),
    "id too long": (
        record(sound(KINDS[0]), headers=headers_of(KINDS[0], ce_id=b"i" * 8_193)),
        "header ce_id has 8,193 bytes, the limit is 8,192",
    ),
    "an attribute twice": (
        record(sound(KINDS[0]), headers=(*headers_of(KINDS[0]), ("ce_id", b"j"))),
        "header ce_id is repeated; send each attribute once",
    ),
    "structured mode": (
        record(
            b'{"specversion":"1.0","type":"sagaline.start"}',
            headers=(("content-type", b"application/cloudevents+json; charset=UTF-8"),),
        ),
        "the record is a CloudEvent in structured mode; use the binary mode",
    ),
    "another version of the envelope": (
        record(sound(KINDS[0]), headers=headers_of(KINDS[0], ce_specversion=b"0.3")),
        "header ce_specversion is '0.3'; this release reads 1.0",
    ),
    "a version that is a truth": (
        record(b'{"definition":"d","key":"k","input":{},"version":true}', headers=headers_of(KINDS[0])),
        "sagaline.start: version: Input should be a valid integer",
    ),
    "a version that is a text": (
        record(b'{"definition":"d","key":"k","input":{},"version":"1"}', headers=headers_of(KINDS[0])),
        "sagaline.start: version: Input should be a valid integer",
    ),
    "a negative time to keep": (
        record(
            b'{"event":"e","key":"k","body":{},"keep_ms":-1}',
            key=b"@mailbox/e/k",
            headers=headers_of("sagaline.entity.published"),
        ),
        "sagaline.entity.published: keep_ms: Input should be greater than or equal to 0",
    ),
}
EVENT = "sagaline.entity.published"


def started(key: str, **body: object) -> Record:
    value = json.dumps({"definition": "d", "key": key, "input": {}, **body}).encode()
    return record(value, key=f"{body.get('definition', 'd')}/{key}".encode(), headers=headers_of(KINDS[0]))


def acted(instance: str) -> Record:
    return record(sound(KINDS[1]), key=instance.encode(), headers=headers_of(KINDS[1]))


def happened(key: str, *, event: str = "paid", box: str | None = None) -> Record:
    value = json.dumps({"event": event, "key": key, "body": {}, "keep_ms": 1}).encode()
    return record(value, key=(box or f"@mailbox/{event}/{key}").encode(), headers=headers_of(EVENT))


HELD = {"instance": "d/p", "place": "run", "root": "d/p", "root_incarnation": "k3x9wq2z"}
WRONG_KEYS: dict[str, tuple[Record, str]] = {
    "start: empty": (started(""), "the key has 0 characters"),
    "start: dot": (started("."), "the key '.' cannot be part of a URL"),
    "start: dots": (started(".."), "the key '..' cannot be part of a URL"),
    "start: long": (started("k" * 2_030), "the key has 2030 characters; give 1 to 256"),
    "start: long in bytes": (started("\U0001f6d2" * 129), "the key has 516 bytes"),
    "start: line separator": (started("a\u2028b"), "the record's key has a line separator (U+2028) at position 3"),
    "start: no name": (started("k", definition="D d"), "definition is 'D d'"),
    "start: two slashes": (started("k", definition="d/e"), "definition is 'd/e'"),
    "start: an entity": (started("k", definition="@mailbox"), "definition is '@mailbox'"),
    "start: a child's dots": (started("..", parent=HELD), "the key ends in '..'"),
    "act: no key": (acted("d"), "the record's key is not an instance's id: it is not definition/key"),
    "act: empty key": (acted("d/"), "the record's key is not an instance's id: it is not definition/key"),
    "act: dots": (acted("d/.."), "the record's key is not an instance's id: it ends in '..'"),
    "event: empty": (happened(""), "the event's key has 0 characters"),
    "event: dots": (happened(".."), "the event's key '..' cannot be part of a URL"),
    "event: long": (happened("k" * 300), "the event's key has 300 characters"),
    "event: no name": (happened("k", event="Paid!"), "event is 'Paid!'"),
    "event: another mailbox": (
        happened("k", box="@mailbox/paid/other"),
        "the record's key is '@mailbox/paid/other', its body is for '@mailbox/paid/k'",
    ),
    "event: to an instance": (happened("k", box="d/k"), "the record's key is 'd/k', its body is for '@mailbox/paid/k'"),
}


@pytest.mark.parametrize("what", WRONG_KEYS)
def test_what_is_written_straight_to_inputs_obeys_the_rule_of_clients_keys(what: str) -> None:
    poison, message = WRONG_KEYS[what]
    with pytest.raises(BadRecord) as caught:
        decode_input(poison)
    assert str(caught.value).startswith(message)


def test_the_longest_keys_are_taken_and_a_childs_may_be_longer() -> None:
    for key in ("k" * 256, "é" * 256, "a/b", "a b", "\U0001f6d2" * 128):
        assert decode_input(started(key)).instance == f"d/{key}"
        assert decode_input(happened(key)).instance == f"@mailbox/paid/{key}"
    assert decode_input(started("k" * 2_000, parent=HELD)).instance == "d/" + "k" * 2_000
    assert decode_input(acted("d/" + "k" * 2_000)).instance == "d/" + "k" * 2_000


def is_told(poison: Record) -> bool:
    """True when a poison record says which command of which instance it answers."""
    headers = dict(poison.headers)
    kind = headers.get("ce_type", b"")
    replies = not kind.startswith((b"sagaline.start", b"sagaline.act", b"sagaline.entity."))
    return "ce_commandid" in headers and replies and poison.key == b"d/k"


@pytest.mark.parametrize("what", POISON)
def test_a_poison_input_is_a_bad_record_or_a_failed_attempt_that_says_what_is_wrong(what: str) -> None:
    poison, message = POISON[what]
    if is_told(poison):
        failed = decode_input(poison)
        assert isinstance(failed, Failed)
        assert (failed.instance, failed.command_id) == ("d/k", "d/k/a/1")
        assert failed.error.startswith(f"the worker's reply cannot be used: {message}")
        return
    with pytest.raises(BadRecord) as caught:
        decode_input(poison)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_fields_headers_and_odd_traces_do_no_harm(kind: str) -> None:
    """A newer worker may say more, and a broken trace must not stop a message."""
    body = json.dumps({**BODIES[kind], "unknown": 1}).encode()
    for trace in (b"\xff", b"x" * 10_000, b""):
        message = decode_input(record(body, headers=headers_of(kind, traceparent=trace, ce_new=b"1")))
        assert message.traceparent is None


def test_the_identity_of_a_message_is_its_records_and_not_its_bodys() -> None:
    """A body cannot claim another instance, command or id than its record's key and headers."""
    body = json.dumps({**BODIES["sagaline.reply.rejected"], "id": "x", "instance": "x", "command_id": "x"}).encode()
    message = decode_input(record(body, headers=headers_of("sagaline.reply.rejected")))
    assert isinstance(message, Rejected)
    assert (message.id, message.instance, message.command_id) == ("i", "d/k", "d/k/a/1")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["definition", "key", "version", "input", "act", "by", "reason", "code", "error", "detail", "reply", "format"]
OBJECTS = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5).map(lambda body: json.dumps(body).encode())
VALUES = st.none() | st.binary(max_size=40) | OBJECTS
HEADER = st.tuples(
    st.sampled_from(
        [
            "ce_id",
            "ce_type",
            "ce_commandid",
            "ce_subject",
            "ce_effectkey",
            "ce_direction",
            "ce_attempt",
            "ce_deadline",
            "ce_replytopic",
            "ce_replypartition",
            "ce_requestid",
            "ce_outcome",
            "traceparent",
            "x",
        ]
    ),
    st.binary(max_size=12)
    | st.sampled_from([kind.encode() for kind in KINDS])
    | st.integers().map(lambda n: b"%d" % n),
)


@pytest.mark.slow
@QUIET
@given(VALUES, st.none() | st.binary(max_size=8), st.lists(HEADER, max_size=14), st.sampled_from([*KINDS, None]))
@example(b"{}", b"d/k", [("ce_attempt", b"1" * 5_000)], None)
@example(b"{}", b"d/k", [("ce_attempt", "²".encode())], None)
def test_random_records_are_values_or_bad_records(
    value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes]], kind: str | None
) -> None:
    """Bytes, keys and headers of any kind, for every reader of records."""
    sound_headers = headers_of(kind) if kind else (("ce_id", b"i"), ("ce_type", b"c"), ("ce_subject", b"s"))
    for given_headers in (tuple(headers), (*sound_headers, *headers), (*headers, *sound_headers)):
        poison = record(value, key=key, headers=given_headers)
        request_of(poison)
        for read in (decode_input, decode_command, decode_history):
            with suppress(BadRecord):
                read(poison)


@pytest.mark.slow
@QUIET
@given(st.binary(max_size=60) | OBJECTS | st.binary(max_size=30).map(lambda tail: b'{"format":1,' + tail))
@example(b"")
@example(deep(100_000))
@example(b'{"format":true}')
def test_random_documents_are_bad_records(value: bytes) -> None:
    with pytest.raises(BadRecord):
        decode_document(value)


@QUIET
@given(st.integers(0, len(GOLDEN) - 1), st.binary(max_size=3))
def test_a_damaged_document_is_read_or_is_a_bad_record(at: int, patch: bytes) -> None:
    """A few bytes replaced anywhere."""
    with suppress(BadRecord):
        decode_document(GOLDEN[:at] + patch + GOLDEN[at + len(patch) :])


def test_a_newer_document_says_that_a_newer_release_must_decide() -> None:
    """Whatever else it holds: it is not guessed at."""
    for rest in (b"}", b',"steps":"of another shape"}'):
        with pytest.raises(
            NewerFormat, match="the document has format 2, this release knows up to 1; deploy the newer"
        ):
            decode_document(b'{"format":2' + rest)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ce_attempt", b"-1", "header ce_attempt is '-1', not a number"),
        ("ce_attempt", b"9" * 500, f"header ce_attempt is '{'9' * 32}', not a number"),
        ("ce_id", b"i" * 4_097, "header ce_id has 4,097 bytes, the limit is 4,096"),
        ("ce_specversion", b"2.0", "header ce_specversion is '2.0'; this release reads 1.0"),
        ("ce_deadline", b"soon", "header ce_deadline is 'soon', not a number"),
        ("ce_direction", b"sideways", "header ce_direction is 'sideways', neither 'do' nor 'undo'"),
        ("ce_replypartition", b"", "header ce_replypartition is missing"),
        ("ce_effectkey", None, "header ce_effectkey is missing"),
    ],
)
def test_a_poison_command_is_a_bad_record(name: str, value: bytes | None, message: str) -> None:
    sound_headers: dict[str, bytes | None] = {
        "ce_id": b"d/k/a/1",
        "ce_type": b"do",
        "ce_subject": b"d/k",
        "ce_effectkey": b"d/k/a",
        "ce_direction": b"do",
        "ce_attempt": b"1",
        "ce_replytopic": b"sagaline.inputs",
        "ce_replypartition": b"0",
    }
    complete = tuple((header, raw) for header, raw in sound_headers.items() if raw is not None)
    assert decode_command(record(b"{}", headers=complete)).deadline_ms is None
    with pytest.raises(BadRecord, match="the record has no value"):
        decode_command(record(None, headers=complete))
    changed = {**sound_headers, name: value}
    with pytest.raises(BadRecord) as caught:
        decode_command(record(b"{}", headers=tuple((n, raw) for n, raw in changed.items() if raw is not None)))
    assert str(caught.value) == message


MESSAGES: list[Message | None] = [
    None,
    Start(id="i", definition="d", key="k", input={"n": [1, None]}),
    Completed(id="i", instance="d/k", command_id="c", reply={"ok": True}),
    Rejected(id="i", instance="d/k", command_id="c", reason="no", code="no"),
    Failed(id="i", instance="d/k", command_id="c", error="boom"),
    Act(id="i", instance="d/k", act=ActName.PAUSE, by="ann"),
    TimerFired(id="i", instance="d/k", timer="a:retry", due_ms=5),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_history_record_keeps_its_message(message: Message | None) -> None:
    """So that the decision can be computed again; and its headers alone answer who asked."""
    kept = HistoryRecord(
        instance="d/k",
        revision=3,
        at_ms=1_000,
        outcome=Outcome.APPLIED,
        status=Status.RUNNING,
        message=message,
        changes=(Change(what="a", before=None, after="sent"),),
        sent=(SentCommand(id="d/k/a/1", contract="do", queue="q"),),
        code=ReasonCode.INVALID,
        reason="because",
    )
    out = encode_history("sagaline.history", 2, kept, id="h", request="req", source="s")
    stored = as_record(out)
    assert decode_history(stored) == kept
    assert request_of(stored) == ("req", Outcome.APPLIED)


def as_record(out: Outgoing) -> Record:
    return Record(out.topic, out.partition or 0, 7, out.key, out.value, out.headers, 1)


@pytest.mark.slow
@given(
    st.dictionaries(st.text(max_size=5), st.recursive(st.integers() | st.text(), st.lists, max_leaves=4), max_size=4)
)
@settings(max_examples=50, deadline=None)
def test_any_input_that_can_be_sent_can_be_read(body: dict[str, object]) -> None:
    start = Start(id="i", definition="d", key="k", input=json.loads(json.dumps(body)))
    out = encode_request("sagaline.inputs", start, source="s", now_ms=1)
    assert decode_input(as_record(out)) == start
