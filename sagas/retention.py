"""``Retention``: how long an instance is kept after its end, by how it ended, and whether it is archived then."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from .given import check_is, check_span

__all__ = ["Retention", "retention_of"]

_DEFAULT = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long an instance is kept after its end: so long it can be queried, and its key cannot be started again.

    A shorter retention that is deployed later holds for instances that end from then on.

    Args:
        completed, compensated, abandoned: how long after an end with this status; longer than zero.
        archive: True: the commit that removes an instance, or begins the next run of its key, also writes its last
            document to the topic ``{namespace}.archive``, once. What is deployed at its end decides. An instance that
            is abandoned where its definition is not deployed is archived too.

    Raises:
        DefinitionError: a value out of its range.
    """

    completed: timedelta = _DEFAULT
    compensated: timedelta = _DEFAULT
    abandoned: timedelta = _DEFAULT
    archive: bool = False

    def __post_init__(self) -> None:
        for status, span in self.spans.items():
            check_span(f"Retention.{status}", span)
        check_is("Retention.archive", self.archive, bool, "give True or False")

    @property
    def spans(self) -> dict[str, timedelta]:
        """The retention of each final status."""
        return {"completed": self.completed, "compensated": self.compensated, "abandoned": self.abandoned}


def retention_of(what: str, given: timedelta | Retention) -> Retention:
    """The retention that a declaration means; a timedelta is one for every status.

    Raises:
        DefinitionError: it is neither, or not longer than zero.
    """
    if isinstance(given, Retention):
        return given
    check_span(what, given, or_else="a Retention")
    return Retention(completed=given, compensated=given, abandoned=given)
