"""What a terminal may be sent: text from workers, clients and states must not move its cursor or change its title."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from rich.segment import Segment

__all__ = ["visible", "visible_segments"]

_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters but for tab and newline, and those that reorder what stands beside them."""


def visible(text: str) -> str:
    """The text with what a terminal would obey written as ``\\x1b`` or ``\\u202e``."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def visible_segments(segments: Iterable[Segment]) -> Iterator[Segment]:
    """The same for what rich has laid out; its own control codes stay."""
    for segment in segments:
        yield segment if segment.control else Segment(visible(segment.text), segment.style)
