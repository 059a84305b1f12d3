"""``Resequencer``: numbered events of one key are published again in the order of their numbers.

It is a process manager that writes its own handlers. A message that comes too early waits in the instance's queue,
which is sorted by number; the state holds only the next number. So the limits of that queue bound what waits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Generic, Literal, TypedDict, TypeVar, Unpack

from pydantic import BaseModel

from .errors import DefinitionError
from .event import Event, check_in_and_out
from .functions import check_function
from .given import check_choice, check_count, check_span
from .nodes import Emit, emit
from .process_manager import Late, Next, ProcessManager, offer_again
from .retention import Retention

__all__ = ["Resequencer", "Sequence"]

P = TypeVar("P", bound=BaseModel)

_FLOWING, _GAP, _SKIPPING, _OVERDUE = "flowing", "gap", "skipping", "overdue"
_SKIPPED_MAX = 100


class Sequence(BaseModel):
    """What a resequencer knows of one key: the number that comes ``next``, and the last 100 ranges of numbers that were
    ``skipped``, as first, last, first, last …
    """

    key: str
    next: int
    skipped: list[int] = []

    def has_skipped(self, number: int) -> bool:
        """True when the sequence went on without this number."""
        return any(first <= number <= last for first, last in zip(self.skipped[::2], self.skipped[1::2], strict=True))


class Options(TypedDict, Generic[P], total=False):
    """What a resequencer may say; see ``Resequencer``."""

    gap: Literal["wait", "skip", "dead_letter"]
    timeout: timedelta | None
    first: int
    last: Callable[[P], bool] | None
    late: Late
    version: int
    retention: timedelta | Retention


@dataclass(frozen=True, kw_only=True)
class Rules(Generic[P]):
    """The options of a resequencer, with their defaults."""

    gap: Literal["wait", "skip", "dead_letter"] = "wait"
    timeout: timedelta | None = None
    first: int = 1
    last: Callable[[P], bool] | None = None
    late: Late = "ignore"
    version: int = 1
    retention: timedelta | Retention = timedelta(days=7)

    def check(self, at: str) -> None:
        """Raises DefinitionError for a value that is out of range, or does not fit the others."""
        check_choice(f"{at}: gap", self.gap, ("wait", "skip", "dead_letter"))
        check_count(f"{at}: first", self.first, 0)
        if self.timeout is not None:
            check_span(f"{at}: timeout", self.timeout)
        if self.gap == "wait" and self.timeout is not None:
            raise DefinitionError(f"{at}: a gap waits for ever; leave timeout out, or say gap='skip' or 'dead_letter'")
        if self.gap != "wait" and self.timeout is None:
            raise DefinitionError(f"{at}: gap={self.gap!r} needs to know when; give timeout=timedelta(…)")


class Resequencer(ProcessManager[Sequence]):
    """Sorts numbered messages: one instance per key, which lives as long as its sequence.

    - success: every message is published once, in the order of the numbers, as the event ``emits`` under the key.
    - rejection: cannot happen.
    - exhaustion: 1,000 messages wait, or so many that they nearly fill the document: a further one that does not close
      the gap becomes a dead letter (``no-room``), and its redrive offers it again.
    - timeout: of a gap, counted from when the message before it was published, or the first one after it came: see
      ``gap``.
    - cancel: what waits is not published.
    - undo: nothing to undo.
    - a number that was published already is counted and changes nothing. One that was skipped becomes a dead letter.
    - messages come in any order, and may be published under one key or under several.
    - a function that raises, or returns a wrong value, puts the instance into ``attention``; fix it, redeploy, then
      ``retry``.

    Args:
        name: its identity; instances are called ``{name}/{key}``.
        of: the event to sort.
        key: which sequence a message belongs to; a pure function, as all others.
        number: its number; the numbers of a key are whole, each one more than the one before.
        emits: the event that the sorted messages are published as, with the same model.
        gap: when a number does not come within ``timeout``. ``"wait"``: for ever, without a timeout; ``"skip"``: the
            sequence goes on behind the gap; ``"dead_letter"``: what waits behind the gap becomes dead letters, also
            what comes later, until the missing number comes; a redrive then offers them again.
        timeout: how long a gap waits.
        first: the number that a sequence begins with.
        last: True for the last message of a sequence: its instance is completed then.
        late: what happens to messages after the end; see ``ProcessManager``.
        version: as of every definition.
        retention: how long a finished instance is kept; a ``Retention`` says it for each status.

    Raises:
        DefinitionError: any mistake that can be seen without running it.
    """

    kind = "resequencer"
    rests = frozenset({_FLOWING, _OVERDUE})

    def __init__(
        self,
        name: str,
        of: Event[P],
        *,
        key: Callable[[P], str],
        number: Callable[[P], int],
        emits: Event[P],
        **options: Unpack[Options[P]],
    ) -> None:
        rules: Rules[P] = Rules(**options)
        super().__init__(name, Sequence, version=rules.version, retention=rules.retention, late=rules.late)
        at = self.where
        rules.check(at)
        _check_events(at, of, emits)
        for what, function in (("number", number), ("last", rules.last)):
            if function is not None:
                check_function(f"{at}, {what}", function, (of.model,))
        if rules.gap == "wait":
            self.rests = self.rests | {_GAP}
        timers = {} if rules.timeout is None else {_GAP: rules.timeout}

        def first(body: P) -> Next[Sequence]:
            return offer_again(_FLOWING, Sequence(key=key(body), next=rules.first))

        def publish(s: Sequence, body: P) -> Next[Sequence]:
            after = s.model_copy(update={"next": _number(number(body), at) + 1})
            out: list[Emit[Sequence]] = [emit(emits, lambda _: body, key=lambda _: s.key)]
            if rules.last is not None and rules.last(body):
                return Next.complete(after, emit=out)
            return Next(_FLOWING, after, emit=out, clear=[_GAP])

        def offered(phase: str) -> Callable[[Sequence, P], Next[Sequence]]:
            def offer(s: Sequence, body: P) -> Next[Sequence]:
                found = _number(number(body), at)
                if found == s.next:
                    return publish(s, body)
                if found < s.next:
                    skipped = s.has_skipped(found)
                    return Next.deny(f"number {found} came after it was skipped") if skipped else Next(phase)
                return ahead(s, body, found)

            def ahead(s: Sequence, body: P, found: int) -> Next[Sequence]:
                if phase == _SKIPPING:
                    skipped = [*s.skipped, s.next, found - 1][-2 * _SKIPPED_MAX :]
                    return publish(s.model_copy(update={"skipped": skipped}), body)
                if phase == _OVERDUE:
                    return Next.deny(f"number {s.next} has not come within {rules.timeout}; redrive this when it has")
                return offer_again(_GAP, timers=timers)

            return offer

        self.starts_on(of, key=key)(first)
        for phase in (_FLOWING, _GAP, *_after(rules.gap)):
            self.on(of, key=key, when=phase)(offered(phase))
        for phase in _after(rules.gap):
            self.on_timer(_GAP, when=_GAP)(_moves_to(phase))
        self.subscriptions[of.name] = replace(self.subscriptions[of.name], order=number)


def _moves_to(phase: str) -> Callable[[Sequence], Next[Sequence]]:
    return lambda _: Next(phase)


def _after(gap: str) -> tuple[str, ...]:
    """The phase after a gap's timeout, if it has one."""
    return {"skip": (_SKIPPING,), "dead_letter": (_OVERDUE,)}.get(gap, ())


def _number(value: object, at: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"number of {at} returned {value!r}; return a whole number")
    return value


def _check_events(at: str, of: Any, emits: Any) -> None:
    check_in_and_out(at, of, emits)
    if not issubclass(of.model, emits.model):
        raise DefinitionError(
            f"{at}: event {emits.name!r} is a {emits.model.__name__}, the messages are {of.model.__name__}; "
            "give emits= an event of the same model"
        )
