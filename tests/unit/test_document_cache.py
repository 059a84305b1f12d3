"""The cache of parsed documents is bounded by their count and by their size as written."""

from __future__ import annotations

from dataclasses import replace

from sagaline.orchestrator.messages.document import Document, Status
from sagaline.orchestrator.runtime.documents import Documents

from .test_codec_sound import document

RUNNING = document("any")


def cached(cache: Documents, *keys: str) -> list[str]:
    return [key for key in keys if cache.get(key) is not None]


def test_the_longest_unused_ones_make_room_by_count_and_by_size() -> None:
    cache = Documents(max_count=3, max_bytes=100)
    for key in "abcd":
        cache.keep(key, RUNNING, 10)
    assert cached(cache, *"abcd") == ["b", "c", "d"]
    cache.keep("e", RUNNING, 85)
    assert cached(cache, *"bcde") == ["d", "e"]
    cache.keep("f", RUNNING, 101)
    assert cached(cache, *"def") == []
    cache.keep("g", RUNNING, 100)
    assert cached(cache, "g") == ["g"]


def test_a_changed_document_counts_by_its_new_size_and_an_ended_one_not_at_all() -> None:
    cache = Documents(max_count=10, max_bytes=100)
    changed: dict[str, Document | None] = {"a": RUNNING, "b": RUNNING}
    cache.merge(changed, {b"a": b"x" * 60, b"b": b"x" * 40})
    cache.merge({"a": RUNNING}, {b"a": b"x" * 50})
    cache.merge({"c": RUNNING}, {b"c": b"x" * 10})
    assert cached(cache, *"abc") == ["a", "b", "c"]
    cache.merge({"a": None, "b": replace(RUNNING, status=Status.COMPLETED)}, {b"a": None, b"b": b"x" * 40})
    assert cached(cache, *"abc") == ["c"]
    cache.keep("d", RUNNING, 90)
    assert cached(cache, *"cd") == ["c", "d"]
