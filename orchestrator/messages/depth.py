"""How deep JSON may be nested: a parser has a limit of its own, and what is written must be readable."""

from __future__ import annotations

import re

__all__ = ["BODY_DEPTH_MAX", "DEPTH_MAX", "too_deep"]

BODY_DEPTH_MAX = 64
"""Most levels of objects and lists in data from outside: inputs, replies, events, values of acts."""
DEPTH_MAX = 128
"""Most levels in anything that is written; a document contains bodies a few levels down. The parser's limit is 200."""

_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_STRING = re.compile(rb'"[^"]*"')
_AS_BRACES = bytes.maketrans(b"[]", b"{}")
_NO_BRACKETS = bytes(set(range(256)) - set(b'{}[]"'))


def too_deep(value: bytes, depth_max: int) -> bool:
    """True when JSON has more levels of objects and lists than ``depth_max``. Undefined for bytes that are not JSON."""
    if value.count(b"{") + value.count(b"[") <= depth_max:
        return False
    if b"\\" in value:
        value = _ESCAPE.sub(b"", value)
    left = value.translate(_AS_BRACES, _NO_BRACKETS).replace(b'""', b"")
    if b'"' in left:
        left = _STRING.sub(b"", left)
    for _ in range(depth_max):  # each pass removes the innermost level
        if not left:
            break
        left = left.replace(b"{}", b"")
    return bool(left)
