"""What is written can be read back, or is not written: depth, numbers, sizes. And a dead letter always fits."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import from_json, to_json

from sagaline.orchestrator.codec.dead_letters import Why, dead_letter
from sagaline.orchestrator.codec.documents import decode_document, encode_document, encode_history
from sagaline.orchestrator.codec.entities import encode_entity_message
from sagaline.orchestrator.codec.inputs import decode_input, encode_reply, encode_request
from sagaline.orchestrator.codec.wire import BODY_DEPTH_MAX, DEPTH_MAX, Unsound, finite, too_deep
from sagaline.orchestrator.messages.document import Document, Status
from sagaline.orchestrator.messages.entity_messages import ChildEnd, ChildEnded, Published, mailbox_id
from sagaline.orchestrator.messages.history import HistoryRecord
from sagaline.orchestrator.messages.inputs import Act, ActName, Completed, Message, Start
from sagaline.orchestrator.messages.outputs import Outcome
from sagaline.orchestrator.messages.texts import end_of, said, storable, trace_of
from sagaline.orchestrator.messages.values import Parent
from sagaline.orchestrator.ports.log import Headers, Outgoing, Record, size_bytes

READERS_DEPTH = 200
"""The deepest JSON that pydantic's reader takes."""

TRICKY = st.text(st.sampled_from('"\\{}[]a\n\u2028'), max_size=6)
JSON = st.recursive(
    st.none() | st.integers() | TRICKY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TRICKY, inner, max_size=3),
    max_leaves=8,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


def nested(levels: int) -> Any:
    value: Any = 1
    for number in range(levels):
        value = [value] if number % 2 else {"a": value}
    return value


def as_record(out: Outgoing) -> Record:
    return Record(out.topic, out.partition or 0, 7, out.key, out.value, out.headers, 1)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(JSON, st.integers(0, 6))
def test_depth_is_counted_without_parsing(value: Any, depth_max: int) -> None:
    """Whatever stands in strings."""
    for written in (to_json(value), json.dumps(value).encode(), json.dumps(value, ensure_ascii=False).encode()):
        assert too_deep(written, depth_max) == (depth(value) > depth_max)


def test_the_reader_takes_more_than_is_ever_written() -> None:
    assert BODY_DEPTH_MAX < DEPTH_MAX < READERS_DEPTH
    assert from_json(to_json(nested(READERS_DEPTH))) == nested(READERS_DEPTH)
    with pytest.raises(ValueError, match="recursion limit"):
        from_json(to_json(nested(READERS_DEPTH + 1)))


@pytest.mark.parametrize("value", [b'{"a":NaN}', b'{"a":[Infinity]}', b'{"a":-Infinity}'])
def test_numbers_that_json_has_not_are_not_written(value: bytes) -> None:
    with pytest.raises(Unsound, match="NaN or infinite"):
        finite(value)


def test_a_text_may_speak_of_them() -> None:
    assert finite(b'{"a":"NaN is not Infinity"}') == b'{"a":"NaN is not Infinity"}'


def document(value: Any) -> Document:
    return Document(
        id="d/k",
        definition="d",
        version=1,
        key="k",
        status=Status.RUNNING,
        revision=1,
        state={"value": value},
        digest="",
        started_by="s",
        incarnation="k3x9wq2z",
        created_ms=1,
        updated_ms=1,
    )


def test_a_document_is_written_as_deep_as_it_can_be_read() -> None:
    deepest = document(nested(DEPTH_MAX - 2))
    assert decode_document(encode_document(deepest)) == deepest
    with pytest.raises(Unsound, match=f"more than {DEPTH_MAX} levels"):
        encode_document(document(nested(DEPTH_MAX - 1)))


def written(message: Message) -> Outgoing:
    match message:
        case Start() | Act():
            return encode_request("t.inputs", message, source="/t", now_ms=1)
        case Completed():
            return encode_reply("t.inputs", 0, message, source="/t", now_ms=1)
        case _:
            return encode_entity_message("t.inputs", message, source="/t", now_ms=1, traceparent=None)


PARENT = Parent(instance="p/k", place="a", root="p/k", root_incarnation="k3x9wq2z")
MESSAGES: dict[str, tuple[int, Any]] = {
    "a start": (BODY_DEPTH_MAX - 1, lambda value: Start(id="i", definition="d", key="k", input=value)),
    "a child's start": (
        DEPTH_MAX - 1,
        lambda value: Start(id="i", definition="d", key="k", input=value, parent=PARENT),
    ),
    "an act": (
        BODY_DEPTH_MAX - 1,
        lambda value: Act(id="i", instance="d/k", act=ActName.SKIP, step="a", value=value, by="ann"),
    ),
    "a reply": (BODY_DEPTH_MAX, lambda value: Completed(id="i", instance="d/k", command_id="d/k/a/1", reply=value)),
    "an event": (
        BODY_DEPTH_MAX - 1,
        lambda value: Published(id="i", instance=mailbox_id("e", "k"), event="e", key="k", body=value, keep_ms=1),
    ),
    "a child's end": (
        DEPTH_MAX - 1,
        lambda value: ChildEnded(
            id="i", instance="d/k", place="a", index=None, child="c/k", end=ChildEnd.COMPLETED, state=value
        ),
    ),
}


@pytest.mark.parametrize("what", MESSAGES)
def test_a_message_is_written_as_deep_as_it_can_be_read(what: str) -> None:
    """And with it the history that keeps it, up to the depth of what comes from outside."""
    levels, make = MESSAGES[what]
    deepest = make({"value": nested(levels - 1)})
    assert decode_input(as_record(written(deepest))) == deepest
    if levels <= BODY_DEPTH_MAX:
        kept = HistoryRecord(
            instance="d/k", revision=1, at_ms=1, outcome=Outcome.APPLIED, status=Status.RUNNING, message=deepest
        )
        encode_history("t.history", 0, kept, id="h", request="i", source="/t")
    with pytest.raises(Unsound, match="levels of objects and lists"):
        written(make({"value": nested(levels)}))


BYTES = st.binary(max_size=30) | st.integers(0, 9_000).map(lambda length: b"x" * length)
HEADERS: st.SearchStrategy[Headers] = st.lists(
    st.tuples(st.sampled_from(["ce_id", "ce_type", "dead-reason", "x", "é"]), BYTES), max_size=6
).map(tuple)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.none() | BYTES, st.none() | BYTES, HEADERS, st.text(max_size=40), st.integers(2_000, 12_000))
def test_a_dead_letter_always_fits_and_says_what_is_missing(
    key: bytes | None, value: bytes | None, headers: Headers, reason: str, bytes_max: int
) -> None:
    record = Record("t.inputs", 1, 7, key, value, headers, 1)
    letter = dead_letter("t.dead", 0, record, Why(reason * 100, "rejected", "billing", reason * 900), bytes_max)
    assert size_bytes(letter.key, letter.value, letter.headers) <= bytes_max
    found = dict(letter.headers)
    assert (found["dead-topic"], found["dead-partition"], found["dead-offset"]) == (b"t.inputs", b"1", b"7")
    if letter.value != value:
        assert value is not None
        assert value.startswith(letter.value or b"")
        assert found["dead-value-bytes"] == str(len(value)).encode()
        assert found["dead-value-sha256"] == hashlib.sha256(value).hexdigest().encode()
    if letter.key != key:
        assert key is not None
        assert key.startswith(letter.key or b"")
        assert found["dead-key-bytes"] == str(len(key)).encode()
    kept = [each for each in letter.headers if not each[0].startswith("dead-")]
    before = [each for each in headers if not each[0].startswith("dead-")]
    assert int(found.get("dead-headers-left-out", b"0")) == len(before) - len(kept)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(categories=("L", "P", "Z", "C")), max_size=30), st.integers(1, 40))
def test_a_storable_text_is_encodable_printable_and_no_longer_than_it_may_be(text: str, chars_max: int) -> None:
    for made in (storable(text, chars_max), end_of(text, chars_max)):
        made.encode()
        assert len(made) <= chars_max
        assert not {"\x00", "\x1b", "\x7f"} & set(made)
    if len(text) <= chars_max and text.isprintable():
        assert storable(text, chars_max) == text


class _MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_what_an_exception_says_can_be_had_also_when_it_cannot_say_it() -> None:
    with pytest.raises(_MuteError) as caught:
        raise _MuteError
    assert "_MuteError" in said(caught.value)
    assert "_MuteError" in trace_of(caught.value, 1_000)


def test_a_traceback_names_files_as_they_are_imported() -> None:
    """Also those of its causes, of a group's members, and of code that no folder of the path holds."""
    here = Path(__file__)

    def inner() -> None:
        exec(compile("raise LookupError('x')", str(Path("/") / "far" / "rules" / "tax.py"), "exec"))

    def outer() -> None:
        try:
            inner()
        except LookupError as error:
            raise ExceptionGroup("several", [ValueError("a")]) from error

    with pytest.raises(ExceptionGroup) as caught:
        outer()
    told = trace_of(caught.value, 10_000)
    assert 'File "rules/tax.py", line 1' in told
    assert f'{here.name}", line' in told
    assert "/rules" not in told
    assert str(here.parents[1]) not in told
