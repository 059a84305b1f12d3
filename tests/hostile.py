"""Hostile values as hypothesis strategies: what others may send, answer, raise or return, as far as we thought of it.

For any test: what a strategy gives is to harm its own instance only. Widen it here when something new is thought of.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from sagaline.orchestrator.ports.log import Headers

__all__ = ["errors", "headers", "json_values", "keys", "odd_values", "raw_values", "replies", "texts"]


class Panic(BaseException):
    """As an extension in Rust raises it."""


class Mute(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


_TEXTS = (
    "",
    " ",
    ".",
    "..",
    "a/b",
    "@mailbox/e/k",
    "a\x00b",
    "\x1b[31m",
    "\ud800",
    "\udcff\udcff",
    os.fsdecode(bytes.fromhex("636166e92e747874")),
    "\u2028",
    "\U0001f9ff" * 200,
    "x" * 5_000,
    "x" * 1_200_000,
    "{}[]\"\\'" * 100,
)
_CHARACTERS = st.characters(categories=("L", "N", "P", "S", "Z", "C"))


def texts() -> SearchStrategy[str]:
    """Any text: halves of surrogate pairs, control characters, empty, huge."""
    return st.sampled_from(_TEXTS) | st.text(_CHARACTERS, max_size=20)


def keys() -> SearchStrategy[str]:
    """Business keys, of which most cannot be one."""
    return texts() | st.integers(1, 5_000).map(lambda length: "k" * length)


def _nested(levels: int) -> Any:
    value: Any = 1
    for number in range(levels):
        value = [value] if number % 2 else {"a": value}
    return value


def json_values() -> SearchStrategy[Any]:
    """What Python takes for JSON: too deep, too large, with numbers and texts that JSON has not."""
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts() | st.sampled_from([10**400, -(10**30)])
    deep = st.sampled_from([60, 62, 63, 64, 65, 100, 126, 127, 128, 129, 190, 198, 201, 254, 300]).map(_nested)
    return deep | st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(), inner, max_size=3), max_leaves=6
    )


def odd_values() -> SearchStrategy[Any]:
    """What is no JSON at all, beside what is."""
    return json_values() | st.sampled_from([object(), {1, 2}, b"\xff", Ellipsis, 1j, {1: 2}, {None: 1}, _nested])


def errors() -> SearchStrategy[BaseException]:
    """What code raises. Nothing that is meant to end a process."""
    kinds: list[type[BaseException]] = [ValueError, KeyError, RecursionError, MemoryError, UnicodeError, Panic]
    made = st.builds(lambda kind, text: kind(text), st.sampled_from(kinds), texts())
    return made | st.builds(lambda: Mute()) | st.builds(lambda text: ExceptionGroup(text, [ValueError(text)]), texts())


def replies() -> SearchStrategy[Any]:
    """What stands in the one field of a worker's reply, or what its handler raises."""
    return odd_values() | errors()


def raw_values() -> SearchStrategy[bytes | None]:
    """Values of records as a client in any language could write them."""
    deep = st.sampled_from([63, 64, 65, 66, 130, 199, 201, 10_000])
    return st.one_of(
        st.none(),
        st.binary(max_size=40),
        st.sampled_from([b"", b"{}", b"[]", b"null", b"1", b'"text"', b"{nope", b'{"a":NaN}', b'{"a":-Infinity}']),
        st.sampled_from([b'{"a":"\\ud800"}', b'{"a":1e999}', b'{"a":' + b"9" * 10_000 + b"}", b'{"a":1,"a":2}']),
        deep.map(lambda levels: b'{"a":' * levels + b"1" + b"}" * levels),
        st.integers(0, 1_300_000).map(lambda size: b'{"text":"' + b"x" * size + b'"}'),
        st.integers(0, 1_300_000).map(lambda size: b"x" * size),
    )


def headers() -> SearchStrategy[Headers]:
    """Headers beside those that a record needs: repeated, huge, many, not text."""
    names = [
        "ce_id",
        "ce_type",
        "ce_commandid",
        "ce_specversion",
        "content-type",
        "traceparent",
        "dead-reason",
        "x",
        "é",
    ]
    values = st.binary(max_size=20) | st.sampled_from(
        [b"", b"1.0", b"application/cloudevents+json", b"\xff", b"v" * 10_000, b"v" * 1_000_000]
    )
    few = st.lists(st.tuples(st.sampled_from(names), values), max_size=4).map(tuple)
    many = st.integers(0, 60).map(lambda count: tuple((f"x-{number}", b"v" * 1_000) for number in range(count)))
    return few | many
