"""An owner's documents in memory: whatever was put comes back, and idle documents of one kind cost little."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagaline.orchestrator.adapters.kafka_log import shelf as module
from sagaline.orchestrator.adapters.kafka_log.shelf import Shelf

KEYS = st.sampled_from([b"a/1", b"a/2", b"b/1", b"@lock/x", b"plain", b"", b"/", b"a/"])
VALUES = st.one_of(st.binary(max_size=200), st.sampled_from([b"", b"\xff", b"x" * 40_000, b"{" + b"ab" * 9_000]))
ACTS = st.lists(st.tuples(st.sampled_from(["put", "store", "drop"]), KEYS, VALUES), max_size=60)


@settings(max_examples=200, deadline=None)
@given(ACTS, st.integers(1, 5))
def test_a_shelf_is_a_map(acts: list[tuple[str, bytes, bytes]], recent_max: int) -> None:
    before, module._RECENT_MAX = module._RECENT_MAX, recent_max
    try:
        shelf, model = Shelf(), dict[bytes, bytes]()
        for act, key, value in acts:
            if act == "drop":
                shelf.drop(key)
                model.pop(key, None)
            else:
                (shelf.put if act == "put" else shelf.store)(key, value)
                model[key] = value
            assert shelf.get(key) == model.get(key)
            assert len(shelf) == len(model)
        assert dict(shelf.items()) == model
    finally:
        module._RECENT_MAX = before


def _document(number: int) -> bytes:
    state = {"order": {"id": f"A-{number}", "total": number * 17}, "digest": f"{number * 7919:064x}"}
    return json.dumps({"format": 4, "id": f"shop/{number}", "state": state, "text": "what all have " * 20}).encode()


def test_idle_documents_of_a_definition_take_a_fraction_of_their_text() -> None:
    shelf = Shelf()
    for number in range(1_000):
        shelf.store(b"shop/%d" % number, _document(number))
    assert sum(map(len, shelf._packed.values())) < 0.3 * sum(len(_document(number)) for number in range(1_000))
    assert all(shelf.get(b"shop/%d" % number) == _document(number) for number in range(1_000))


def test_samples_are_few_whatever_comes() -> None:
    """Values that resemble nothing, of more kinds than there are samples."""
    shelf = Shelf()
    for kind in range(400):
        for number in range(3):
            shelf.store(b"%d/%d" % (kind, number), (b"%d:%d;" % (kind, number * 7919)) * 3)
    assert len(shelf._samples) <= 255
    assert shelf.get(b"399/2") == b"399:15838;" * 3


def test_a_shelf_that_is_cleared_is_empty() -> None:
    shelf = Shelf()
    for number in range(5):
        shelf.put(b"a/%d" % number, b"x" * 100)
        shelf.store(b"b/%d" % number, b"x" * 100)
    shelf.clear()
    assert len(shelf) == 0
    assert list(shelf.items()) == []


def test_a_put_packs_one_document_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the event loop never stands still while thousands of large ones are packed."""
    monkeypatch.setattr(module, "_RECENT_MAX", 10)
    shelf, before = Shelf(), 0
    for number in range(100):
        shelf.put(b"a/%d" % number, b"x" * 100)
        assert len(shelf._packed) - before <= 1
        before = len(shelf._packed)
    assert before == 90
