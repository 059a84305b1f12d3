"""``Aggregator``: parts of one key, published as events, are gathered into one result event.

It is a process manager that writes its own handlers. The parts themselves are not kept: each is folded into a state.
What is remembered of them is compact: ranges of numbers where parts are numbered, otherwise a bounded list of ids.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, Literal, Required, TypedDict, TypeVar, Unpack

from pydantic import BaseModel, ValidationError

from .errors import DefinitionError
from .event import Event, check_in_and_out
from .functions import check_function
from .given import check_choice, check_count, check_span
from .nodes import emit
from .process_manager import Late, Next, ProcessManager
from .retention import Retention
from .schemas import check_json_model

__all__ = ["Aggregator", "Gathered"]

S = TypeVar("S", bound=BaseModel)
P = TypeVar("P", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)

_GATHERING, _TIMEOUT = "gathering", "timeout"


class Gathered(BaseModel, Generic[S]):
    """What an aggregator knows of one key.

    ``state``: the parts, folded. ``count``: how many different ones. ``complete``: ``complete_when`` was true; at the
    timeout it is False. ``ranges``: numbers of the parts, as first, last, first, last …, in order. ``ids``: their ids.
    """

    key: str
    state: S
    count: int = 0
    complete: bool = False
    ranges: list[int] = []
    ids: list[str] = []

    def has(self, part: int | str) -> bool:
        """True when a part of this number or id was added."""
        if isinstance(part, str):
            return part in self.ids
        at = bisect_right(self.ranges, part)
        return at % 2 == 1 or (at > 0 and self.ranges[at - 1] == part)


class Options(TypedDict, Generic[P], total=False):
    """What an aggregator may say; see ``Aggregator``."""

    timeout: Required[timedelta]
    part: Callable[[P], int | str] | None
    parts_max: int
    on_timeout: Literal["emit", "fail"]
    late: Late
    version: int
    retention: timedelta | Retention


@dataclass(frozen=True, kw_only=True)
class Rules(Generic[P]):
    """The options of an aggregator, with their defaults."""

    timeout: timedelta
    part: Callable[[P], int | str] | None = None
    parts_max: int = 10_000
    on_timeout: Literal["emit", "fail"] = "emit"
    late: Late = "ignore"
    version: int = 1
    retention: timedelta | Retention = timedelta(days=7)

    def check(self, at: str) -> None:
        """Raises DefinitionError for a value that is out of range."""
        check_span(f"{at}: timeout", self.timeout)
        check_choice(f"{at}: on_timeout", self.on_timeout, ("emit", "fail"))
        check_count(f"{at}: parts_max", self.parts_max, 1, 10_000)


class Aggregator(ProcessManager[Gathered[S]]):
    """Gathers parts into one result: the first part of a key begins an instance, the last one completes it.

    - success: when ``complete_when`` is true after a part, the result is published, in the commit of that part.
    - rejection: cannot happen.
    - exhaustion: cannot happen.
    - timeout: counted from the first part. The result is published with what is there (``complete`` is False), or, with
      ``on_timeout="fail"``, nothing is, and the instance ends as ``compensated``.
    - cancel: nothing is published.
    - undo: nothing to undo.
    - a part counts once: by event id among the last 200 events of the key, and with ``part`` always.
    - late parts, after the end and within ``retention``: see ``late``. After ``retention`` a part begins anew.
    - parts of one key come in any order, unless they are published under one key: then in that order.
    - a function that raises, or returns a wrong value, puts the instance into ``attention``; fix it, redeploy, then
      ``retry``.

    Args:
        name: its identity; instances are called ``{name}/{key}``.
        of: the event that a part is.
        key: which gathering a part belongs to; a pure function, as all others.
        into: the model of the state; every field has a default.
        add: the state with one more part.
        complete_when: whether all is there.
        emits: the event of the result, published under the key.
        result: its body.
        timeout: how long after the first part the gathering ends.
        part: the number or the id of a part within its key. With it a part that comes again is not added twice.
        parts_max: of ids, or of gaps between numbers, that are remembered; a part beyond becomes a dead letter.
        on_timeout: whether what is there is published.
        late: ``"ignore"``: late parts are counted and change nothing; ``"dead_letter"``; ``"restart"``: a late part
            begins the next gathering of its key.
        version: as of every definition.
        retention: how long a finished gathering is kept; a ``Retention`` says it for each status.

    Raises:
        DefinitionError: any mistake that can be seen without running it.
    """

    kind = "aggregator"

    def __init__(
        self,
        name: str,
        of: Event[P],
        *,
        key: Callable[[P], str],
        into: type[S],
        add: Callable[[S, P], S],
        complete_when: Callable[[Gathered[S]], bool],
        emits: Event[R],
        result: Callable[[Gathered[S]], R],
        **options: Unpack[Options[P]],
    ) -> None:
        rules: Rules[P] = Rules(**options)
        at, state = f"{self.kind} {name!r}", _state_of(f"{self.kind} {name!r}", into)
        super().__init__(name, state, version=rules.version, retention=rules.retention, late=rules.late)
        rules.check(at)
        check_in_and_out(at, of, emits)
        check_function(f"{at}, add", add, (into, of.model), into, for_="it gives the state, a")
        check_function(f"{at}, complete_when", complete_when, (state,))
        check_function(f"{at}, result", result, (state,), emits.model, for_=f"event {emits.name!r} is a")
        if rules.part is not None:
            check_function(f"{at}, part", rules.part, (of.model,))
        announce = emit(emits, result, key=lambda gathered: gathered.key)
        timers = {_TIMEOUT: rules.timeout}

        def first(body: P) -> Next[Gathered[S]]:
            return added(state(key=key(body), state=into()), body)

        def added(before: Gathered[S], body: P) -> Next[Gathered[S]]:
            after = before.model_copy(update={"count": before.count + 1})
            if rules.part is not None:
                part = _part(rules.part(body), at)
                if before.has(part):
                    return Next(_GATHERING)
                if not _remember(after, part, rules.parts_max):
                    text = f"there is no room to remember part {part!r} beside {rules.parts_max:,} others"
                    return Next.deny(f"{text}; raise parts_max, or redrive it when there are fewer gaps")
            after.state = add(before.state, body)
            if not isinstance(after.state, into):
                wrong = type(after.state).__name__
                raise TypeError(f"add of {at} returned a {wrong}; return the {into.__name__} with the part in it")
            if complete_when(after):
                after.complete = True
                return Next.complete(after, emit=[announce])
            return Next(_GATHERING, after, timers={} if before.count else timers)

        def time_out(gathered: Gathered[S]) -> Next[Gathered[S]]:
            if rules.on_timeout == "fail":
                return Next.fail(f"{gathered.count:,} parts came within {rules.timeout}, and that is not all")
            return Next.complete(gathered, emit=[announce])

        self.starts_on(of, key=key)(first)
        self.on(of, key=key)(added)
        self.on_timer(_TIMEOUT)(time_out)


def _state_of(at: str, into: type[S]) -> type[Gathered[S]]:
    check_json_model(f"{at}: into", into)
    try:
        into()
    except ValidationError:
        raise DefinitionError(
            f"{at}: a gathering begins with an empty {into.__name__}; give each of its fields a default"
        ) from None
    return Gathered[into]  # type: ignore[valid-type]  # pydantic makes the model at run time


def _part(value: object, at: str) -> int | str:
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise TypeError(f"part of {at} returned {value!r}; return the part's number or its id")
    return value


def _remember(gathered: Gathered[Any], part: int | str, most: int) -> bool:
    """Adds the number or id of a new part. False: there is no room."""
    if isinstance(part, str):
        gathered.ids = [*gathered.ids, part]
        return len(gathered.ids) <= most
    ranges = list(gathered.ranges)
    at = bisect_right(ranges, part)
    after_one, before_one = at > 0 and ranges[at - 1] == part - 1, at < len(ranges) and ranges[at] == part + 1
    if after_one and before_one:
        del ranges[at - 1 : at + 1]
    elif after_one:
        ranges[at - 1] = part
    elif before_one:
        ranges[at] = part
    else:
        ranges[at:at] = [part, part]
    gathered.ranges = ranges
    return len(ranges) <= 2 * most
