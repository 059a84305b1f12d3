"""``ProcessManager``: event-driven. What happens next depends on which events have arrived, in any order.

Handlers are pure: they take the state and the event, and return ``Next``: the new state and what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from pydantic import BaseModel

from .checks import check_declarations, check_header
from .contract import check_name
from .definition import Definition
from .errors import DefinitionError
from .event import Event
from .fields import check_fields
from .functions import check_function
from .given import check_choice, check_is, check_list
from .nodes import Emit, Step
from .retention import Retention
from .tree import Tree

__all__ = ["AnyManager", "Late", "Next", "ProcessManager", "Subscription", "offer_again"]

S = TypeVar("S", bound=BaseModel)
T = TypeVar("T", bound=BaseModel)
E = TypeVar("E", bound=BaseModel)

Phases: TypeAlias = str | Sequence[str]
Late: TypeAlias = Literal["ignore", "dead_letter", "restart"]
"""What happens to an event for an instance that has ended."""


@dataclass(frozen=True, kw_only=True)
class Asked(Generic[S]):
    """What a handler asks for; see ``Next``."""

    state: S | None = None
    do: Sequence[Step[S]] = ()
    emit: Sequence[Emit[S]] = ()
    timers: Mapping[str, timedelta] = field(default_factory=dict)
    clear: Sequence[str] = ()
    ends: bool = False
    fails: str | None = None
    denies: str | None = None
    later: bool = False
    settles: Sequence[Step[S]] = ()


class Next(Generic[S]):
    """What a handler asks for. Nothing happens before it is durable.

    Args:
        phase: the new phase of the process; the ``when`` of handlers refers to it.
        state: the new state; None: unchanged.
        do: steps to start, in parallel; a step may run again later (``pick@2``), with an effect key of its own.
        emit: events to publish, made by ``emit``; they are built from the new state.
        timers: timer name to span; setting a timer again reschedules it.
        clear: names of timers to cancel.
        settles: steps that are final now: what they have done so far is not undone when the process fails later. A
            process that lives for years says so from time to time; what may still be undone stays in its document.
    """

    def __init__(
        self,
        phase: str,
        state: S | None = None,
        *,
        do: Sequence[Step[S]] = (),
        emit: Sequence[Emit[S]] = (),
        timers: Mapping[str, timedelta] | None = None,
        clear: Sequence[str] = (),
        settles: Sequence[Step[S]] = (),
    ) -> None:
        self.phase: str | None = phase
        self.asked: Asked[S] = Asked(
            state=state, do=do, emit=emit, timers={} if timers is None else timers, clear=clear, settles=settles
        )

    # Static, with a type variable of their own: for class methods pyright does not infer the type from the arguments.
    @staticmethod
    def complete(state: T | None = None, *, emit: Sequence[Emit[T]] = ()) -> Next[T]:
        """Ends the process: it is ``completed`` as soon as no step is under way.

        Until then handlers may still start steps, emit, change the state or fail; they cannot change the phase or set
        timers.
        """
        found: Next[T] = Next("completed", state)
        found.phase, found.asked = None, Asked(state=state, emit=emit, ends=True)
        return found

    @staticmethod
    def fail(reason: str, state: T | None = None) -> Next[T]:
        """Fails the process: every step that took effect, or may have, is undone."""
        found: Next[T] = Next("failed", state)
        found.phase, found.asked = None, Asked(state=state, fails=reason)
        return found

    @staticmethod
    def deny(reason: str) -> Next[Any]:
        """Of an event's handler: the event becomes a dead letter with this reason, and nothing else changes. A redrive
        offers it again.
        """
        found: Next[Any] = Next("denied")
        found.asked = Asked(denies=reason)
        return found


def offer_again(phase: str, state: T | None = None, *, timers: Mapping[str, timedelta] | None = None) -> Next[T]:
    """Of an event's handler: the event waits for another phase. In this phase nothing happens; from any other one the
    instance moves to it, and the event is offered there.
    """
    found: Next[T] = Next(phase, state)
    found.asked = Asked(state=state, timers=timers or {}, later=True)
    return found


@dataclass(frozen=True, kw_only=True)
class Handler:
    """A handler and the phases in which it is called; None: in any phase."""

    function: Callable[..., Any]
    when: frozenset[str] | None

    def takes(self, phase: str | None) -> bool:
        return self.when is None or phase in self.when


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """An event that a process manager listens to; ``starts``: the handler that starts an instance. ``order``: events
    that wait are sorted by it, and while the first must wait, so must the others.
    """

    event: Event[Any]
    key: Callable[[Any], str]
    starts: Callable[..., Any] | None
    handlers: tuple[Handler, ...] = ()
    order: Callable[[Any], int] | None = None


class ProcessManager(Definition[S]):
    """A definition driven by events.

    - success: a step's reply is put into the state, then its ``on_done`` handler decides, in the first phase that has
      one. After ``Next.complete`` the process ends as soon as no step is under way.
    - rejection: of a step: its ``on_failed`` handler decides; without one for the current phase the process fails.
    - exhaustion: of a step: as a rejection; if the process fails later, the step is undone with the others.
    - timeout: of a step: as exhaustion. A timer of ``Next`` calls its ``on_timer`` handler.
    - cancel: no handler is called any more; a step in flight is undone after its reply or its timeout.
    - undo: after ``Next.fail``, a failure without a handler, or a cancel: every step that took effect, or may have, in
      reverse order of completion.
    - an event without a handler in the current phase is kept, and offered again after each change of phase; so events
      may come in any order. An event that comes before the start is kept for its ``keep``.
    - events, ends of steps and due timers are handled in order of arrival, also when they had to wait.
    - an event is handled once per event id, as far as the last 200 events of the instance tell.
    - an event that comes after the end, while the instance is kept: see ``late``. An event that still waits at the end
      is late too; what a cancel or an abandon leaves becomes dead letters, unless late events are ignored.
    - a handler that raises, or asks for something that does not exist, puts the instance into ``attention``; fix it,
      redeploy, then ``retry`` calls it again.

    Args:
        name: its identity; instances are called ``{name}/{key}``.
        state: pydantic model of the instance's state.
        version: counts from 1. Instances stay with the version they were started with.
        steps: every step that a handler may start.
        retention: how long a finished instance is kept; a ``Retention`` says it for each status.
        late: what happens to an event for an instance that has ended. ``"ignore"``: it is counted and changes nothing;
            ``"dead_letter"``: it becomes a dead letter; ``"restart"``: if it starts instances, it begins the next life
            of the key, as after the retention, otherwise it is ignored. It becomes a dead letter while an abandoned
            instance shows effects that are not undone, and where the code is not deployed.

    Raises:
        DefinitionError: any mistake that can be seen without running it.
    """

    has_phases = True
    kind = "process manager"
    rests: frozenset[str] = frozenset()
    """Phases in which an instance may wait for events without a timer."""

    def __init__(
        self,
        name: str,
        state: type[S],
        *,
        version: int = 1,
        steps: Sequence[Step[S]] = (),
        retention: timedelta | Retention = timedelta(days=7),
        late: Late = "ignore",
    ) -> None:
        super().__init__(self.kind, name, state, version, retention)
        self.where = check_header(self.kind, name, version, state)
        check_choice(f"{self.where}: late", late, ("ignore", "dead_letter", "restart"))
        self.late: Late = late
        check_list(f"{self.where}: steps", steps, "steps")
        for step in steps:
            if not isinstance(step, Step):
                raise DefinitionError(f"{self.where}: {step!r} in steps is not a step; make it with @step(contract)")
        self.tree = Tree(self.where, steps)
        check_declarations(self.where, steps)
        check_fields(self.where, state, self.tree)
        self.steps = {step.name: step for step in steps}
        for step in steps:
            sends = f"contract {step.contract.name!r} sends"
            at = f"{self.where}, step {step.name!r}"
            check_function(at, step.build, (state,), step.contract.command, for_=sends)
            if undo := step.compensation:
                sends = f"contract {undo.contract.name!r} sends"
                check_function(f"{at}, its undo", undo.build, (state,), undo.contract.command, for_=sends)
            step._close(name)
        self.subscriptions: dict[str, Subscription] = {}
        self.done: dict[str, list[Handler]] = {}
        self.failed: dict[str, list[Handler]] = {}
        self.timers: dict[str, list[Handler]] = {}

    @property
    def takes_late(self) -> bool:
        """True when an event after the end has an effect."""
        return self.late != "ignore"

    def starts_on(
        self, event: Event[E], *, key: Callable[[E], str]
    ) -> Callable[[Callable[[E], Next[S]]], Callable[[E], Next[S]]]:
        """Declares the event that starts an instance; decorates a pure function from its body to ``Next``.

        Args:
            event: its kind.
            key: a pure function of its body that returns the instance's key.

        Raises:
            DefinitionError: the event already starts an instance.
        """

        def register(function: Callable[[E], Next[S]]) -> Callable[[E], Next[S]]:
            before = self._subscribed(event, key)
            if before.starts is not None:
                raise DefinitionError(f"{self.where}: event {event.name!r} already starts it; remove one of the two")
            check_function(f"{self.where}, start on {event.name!r}", function, (event.model,))
            self._subscribe(before, starts=function)
            return function

        return register

    def on(
        self, event: Event[E], *, key: Callable[[E], str], when: Phases | None = None
    ) -> Callable[[Callable[[S, E], Next[S]]], Callable[[S, E], Next[S]]]:
        """Declares the handler of an event; decorates a pure function from state and body to ``Next``.

        Args:
            event: its kind.
            key: as in ``starts_on``; the same for all handlers of one event.
            when: the phases in which it is called; None: any.

        Raises:
            DefinitionError: two handlers of one event for one phase.
        """

        def register(function: Callable[[S, E], Next[S]]) -> Callable[[S, E], Next[S]]:
            before = self._subscribed(event, key)
            at = f"{self.where}, on {event.name!r}"
            check_function(at, function, (self.state, event.model))
            handlers = [*before.handlers]
            self._add(at, handlers, function, when)
            self._subscribe(before, handlers=tuple(handlers))
            return function

        return register

    def on_done(
        self, step: Step[S], *, when: Phases | None = None
    ) -> Callable[[Callable[[S], Next[S]]], Callable[[S], Next[S]]]:
        """Declares the handler of a step's success; decorates a pure function of the state, which already holds the
        reply.

        Raises:
            DefinitionError: not one of our steps, or two handlers for one phase.
        """
        return self._registers("done", self.done, self._own(step), when)

    def on_failed(
        self, step: Step[S], *, when: Phases | None = None
    ) -> Callable[[Callable[[S], Next[S]]], Callable[[S], Next[S]]]:
        """Declares the handler of a rejected or failed step; without one the process fails. If the process fails later,
        what the step may have done is undone with everything else.

        Raises:
            DefinitionError: as ``on_done``.
        """
        return self._registers("failed", self.failed, self._own(step), when)

    def on_timer(
        self, name: str, *, when: Phases | None = None
    ) -> Callable[[Callable[[S], Next[S]]], Callable[[S], Next[S]]]:
        """Declares the handler of a timer that ``Next`` has set. In other phases than ``when`` the timer does nothing.

        Raises:
            DefinitionError: an invalid name, or two handlers for one phase.
        """
        check_name("timer", name)
        return self._registers("timer", self.timers, name, when)

    def _own(self, step: Step[S]) -> str:
        if not isinstance(step, Step) or self.steps.get(step.name) is not step:
            raise DefinitionError(f"{self.where}: {step!r} is not one of its steps; add it to steps=[…]")
        return step.name

    def _registers(
        self, what: str, into: dict[str, list[Handler]], name: str, when: Phases | None
    ) -> Callable[[Callable[[S], Next[S]]], Callable[[S], Next[S]]]:
        def register(function: Callable[[S], Next[S]]) -> Callable[[S], Next[S]]:
            at = f"{self.where}, {what} {name!r}"
            check_function(at, function, (self.state,))
            self._add(at, into.setdefault(name, []), function, when)
            return function

        return register

    def _add(self, at: str, handlers: list[Handler], function: Callable[..., Any], when: Phases | None) -> None:
        if when is not None and not isinstance(when, str):
            check_list(f"{at}: when", when, "phases")
        phases = None if when is None else frozenset([when] if isinstance(when, str) else when)
        for other in handlers:
            both = phases is None or other.when is None or phases & other.when
            if both:
                raise DefinitionError(f"{at}: two handlers for the same phase; give each its own when=…")
        handlers.append(Handler(function=function, when=phases))

    def _subscribed(self, event: Event[Any], key: Callable[[Any], str]) -> Subscription:
        check_is(f"{self.where}: what it listens to", event, Event, "give an Event(name, model)")
        found = self.subscriptions.get(event.name)
        if found is not None and found.event != event:
            raise DefinitionError(
                f"{self.where}: two different events are called {event.name!r}; share one, or rename the other"
            )
        check_function(f"{self.where}, key of {event.name!r}", key, (event.model,))
        return found or Subscription(event=event, key=key, starts=None)

    def _subscribe(
        self,
        before: Subscription,
        starts: Callable[..., Any] | None = None,
        handlers: tuple[Handler, ...] | None = None,
    ) -> None:
        self.subscriptions[before.event.name] = Subscription(
            event=before.event,
            key=before.key,
            starts=starts or before.starts,
            handlers=before.handlers if handlers is None else handlers,
            order=before.order,
        )
        self.events = tuple(each.event for each in self.subscriptions.values())


AnyManager: TypeAlias = ProcessManager[Any]
"""A process manager over any state."""
