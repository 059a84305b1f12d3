"""What a planted mistake is: data."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Edit", "Planted", "slip"]


@dataclass(frozen=True, slots=True)
class Edit:
    """In a file, below the root of the repository, one text instead of another."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Planted:
    """A mistake: what it is called, what it does to the source, and what must notice."""

    name: str
    edits: tuple[Edit, ...]
    laws: tuple[str, ...]


def slip(name: str, file: str, old: str, new: str, *laws: str) -> Planted:
    """A mistake of one edit."""
    return Planted(name, (Edit(file, old, new),), laws)
