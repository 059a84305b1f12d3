"""Pieces: the elements of a document's long lists, each encoded once in its life.

A document of a thousand events changes by one of them per decision. Measuring and encoding it then costs one piece, not
a thousand. A piece never changes, and neither does its body; a changed one is another piece.
"""

from __future__ import annotations

from functools import cached_property

from pydantic_core import to_json

from .depth import DEPTH_MAX, too_deep

__all__ = ["Piece"]

_LEVELS_ABOVE = 3
"""Most levels of a document above a piece: the document, a part of it, the list."""


class Piece:
    """Base of the elements."""

    @cached_property
    def encoded(self) -> bytes:
        """Its JSON in the document."""
        return to_json(self, inf_nan_mode="null")

    @cached_property
    def is_too_deep(self) -> bool:
        """True when a document with it could not be read back."""
        return too_deep(self.encoded, DEPTH_MAX - _LEVELS_ABOVE)
