"""Generates sagas from a seed: every node of the language, nested, with options that make faults likely and runs short.

Generated definitions are valid by construction; one that the language rejects is a defect of this module.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias

from sagaline.sagas import Node, Retry, Saga, Step, pivot, step
from sagaline.sagas.definition import AnyDefinition
from sagaline.sagas.nodes import (
    Escalation,
    ask,
    choose,
    each,
    emit,
    expect,
    loop,
    parallel,
    route,
    run,
    scatter,
    sleep,
    wait,
    when,
)
from sagaline.sagas.policy import to_ms
from sagaline.sagas.retention import Retention

from .gatherings import invent_gathering
from .managers import invent_manager
from .parts import (
    ASKED,
    EVENTS,
    FORWARD,
    QUEUES,
    UNDO,
    Begins,
    Even,
    EventKey,
    Fewer,
    Form,
    Gathers,
    Happens,
    Known,
    Looks,
    Naps,
    Part,
    Parts,
    Question,
    Sees,
    Who,
    cost,
)
from .slips import invent_slip

__all__ = ["PEOPLE", "TABLES", "Invented", "invent"]

PEOPLE: Final = ("ann", "bob")
TABLES: Final = {"table-a": ("left", "right"), "table-b": ("up", "down")}
"""Dynamic routers and the branches of generated routes."""

AnyNode: TypeAlias = Node[Any]

_LEAVES: Final = {"scatter": 1, "wait": 2, "sleep": 1, "emit": 1, "ask": 1, "run": 1, "each": 1}
_FORKS: Final = {"parallel": 2, "choose": 1, "route": 1, "loop": 1}
_IN_CHILD: Final = {"sleep": 1, "emit": 1, "parallel": 1, "choose": 1}


@dataclass(frozen=True, kw_only=True)
class Invented:
    """The deployed definitions. ``older``: those of nodes that are not yet updated; the same if nothing changes."""

    definitions: tuple[AnyDefinition, ...]
    older: tuple[AnyDefinition, ...]


@dataclass(frozen=True, slots=True)
class _Taste:
    """The style of one seed's definitions. Each seed omits some kinds of nodes and uses others more often, so that
    these interact; source: Groce et al., "Swarm testing", 2012.
    """

    leaves: tuple[str, ...]
    forks: tuple[str, ...]
    in_child: tuple[str, ...]
    needs: tuple[Literal["all", "any"] | int, ...]
    rests: tuple[Literal["undo", "finish"], ...]
    trips: float
    locks: float
    pivots: float

    @classmethod
    def drawn(cls, drawn: random.Random) -> _Taste:
        def some(kinds: Mapping[str, int], steps: int) -> tuple[str, ...]:
            found = [kind for kind, often in kinds.items() for _ in range(often * drawn.choice((0, 0, 1, 5)))]
            return ("step",) * max(1, min(steps, len(found))) + tuple(found)

        return cls(
            leaves=some(_LEAVES, 8),
            forks=some(_FORKS, 2),
            in_child=some(_IN_CHILD, 5),
            needs=drawn.choice((("all", "any", 2), ("any",), ("all",), ("any", 2))),
            rests=drawn.choice((("undo", "finish"), ("undo",), ("finish",))),
            trips=drawn.choice((0.0, 0.1, 0.4)),
            locks=drawn.choice((0.0, 0.15, 0.5)),
            pivots=drawn.choice((0.0, 0.3, 0.9)),
        )


def invent(drawn: random.Random) -> Invented:
    """Up to two sagas, sometimes a process manager, a routing slip or a gathering, sometimes a second version.

    Nodes that are not yet updated may lack the last definition.
    """
    taste = _Taste.drawn(drawn)
    sagas: list[AnyDefinition] = [_saga(drawn, taste, f"flow-{n}", 1) for n in range(drawn.choice((1, 1, 2)))]
    if drawn.random() < 0.2:
        sagas.append(invent_manager(drawn, "manager"))
    if drawn.random() < 0.2:
        sagas.append(invent_slip(drawn, "slip"))
    newer = [_saga(drawn, taste, "flow-0", 2)] if drawn.random() < 0.2 else []
    undeployed = len(sagas) > 1 and drawn.random() < 0.4
    gatherings = [invent_gathering(drawn)] if drawn.random() < 0.2 else []
    older = sagas[:-1] if undeployed else sagas
    return Invented(definitions=(*sagas, *newer, *gatherings), older=(*older, *gatherings))


def _saga(drawn: random.Random, taste: _Taste, name: str, version: int) -> AnyDefinition:
    hand = _Hand(drawn, taste, f"{name}-v{version}" if version > 1 else name, Known)
    flow = hand.flow(drawn.randint(1, 4), past_pivot=False)
    if drawn.random() < taste.pivots:
        flow = [*flow, pivot, *hand.flow(drawn.randint(1, 2), past_pivot=True)]
    retention = _span(drawn, 0.2, 2.0) if drawn.random() < 0.1 else _span(drawn, 3_600, 36_000)
    kept = Retention(completed=retention, compensated=retention, abandoned=retention, archive=to_ms(retention) % 2 == 0)
    return Saga(name, Known, version=version, flow=flow, retention=kept)


def _span(drawn: random.Random, low: float, high: float) -> timedelta:
    return timedelta(milliseconds=round(drawn.uniform(low, high) * 1000))


class _Hand:
    """Draws the nodes of one saga: names are numbered, and no field of the state is filled twice."""

    def __init__(self, drawn: random.Random, taste: _Taste, saga: str, state: type[Known | Part]) -> None:
        self._drawn, self._taste, self._saga, self._state = drawn, taste, saga, state
        self._fields = [name for name in state.model_fields if name[0] == "r" and name[1:].isdigit()]
        self._free = {"answers", "best", "h0", "h1", "form", "child"} & set(state.model_fields)
        self._known: list[str] = []
        self._count = self._sagas = 0

    def flow(self, count: int, *, past_pivot: bool, depth: int = 0) -> list[AnyNode]:
        """This many nodes in sequence."""
        return [self._node(past_pivot, depth) for _ in range(count)]

    def _node(self, past_pivot: bool, depth: int) -> AnyNode:
        taste = self._taste
        if self._state is Part:
            kinds = taste.in_child if depth < 3 else ("step",)
        else:
            kinds = (*taste.leaves, *taste.forks) if depth < 2 else taste.leaves
        kind = self._drawn.choice(kinds)
        made = self._fork(kind, past_pivot, depth) if kind in _FORKS else self._leaf(kind, past_pivot)
        return made or self._step(past_pivot)

    def _leaf(self, kind: str, past_pivot: bool) -> AnyNode | None:
        drawn = self._drawn
        match kind:
            case "scatter":
                return self._scatter()
            case "wait":
                return self._wait()
            case "sleep":
                span = Naps(drawn.choice((50, 200))) if drawn.random() < 0.5 else _span(drawn, 0.1, 2.0)
                return sleep(self._name("sleep"), span)
            case "emit":
                event = drawn.choice(EVENTS)
                return emit(event, Happens(self._count), key=EventKey(drawn.random() < 0.5), name=self._name("emit"))
            case "ask":
                return self._ask()
            case "run":
                return self._run(past_pivot)
            case "each":
                return self._each(past_pivot)
            case _:
                return None

    def _fork(self, kind: str, past_pivot: bool, depth: int) -> AnyNode:
        drawn, known = self._drawn, list(self._known)
        branches = [
            self.flow(drawn.randint(1, 2), past_pivot=past_pivot, depth=depth + 1)
            for _ in range(drawn.choice((2, 2, 3)) if kind == "parallel" else 2)
        ]
        if kind == "parallel":
            return self._parallel(branches)
        self._known = known
        name = self._name(kind)
        match kind:
            case "choose":
                field = drawn.choice(["", *known])
                rest = branches[1] if drawn.random() < 0.6 else None
                return choose(when(Even(field), *branches[0], name="first"), otherwise=rest, name=name)
            case "route":
                table = drawn.choice(list(TABLES))
                labels = TABLES[table]
                otherwise = drawn.choice((None, labels[0]))
                to = dict(zip(labels, branches, strict=True))
                return route(table, by=Sees(), to=to, otherwise=otherwise, name=name)
            case _:
                return self._loop(name, branches[0], past_pivot)

    def _loop(self, name: str, nodes: list[AnyNode], past_pivot: bool) -> AnyNode:
        """A loop that repeats until the reply of its last step is large enough."""
        if not self._fields:
            return nodes[0]
        field = self._fields[0]
        last = self._step(past_pivot)
        self._known.remove(field)
        rounds = self._drawn.randint(2, 4)
        return loop(*nodes[:1], last, while_=Fewer(field, self._drawn.randint(1, 3)), rounds_max=rounds, name=name)

    def _parallel(self, branches: Sequence[Sequence[AnyNode]]) -> AnyNode:
        drawn = self._drawn
        undo: Literal["reverse", "parallel"] = "reverse" if drawn.random() < 0.5 else "parallel"
        need, rest = drawn.choice(self._taste.needs), drawn.choice(self._taste.rests)
        return parallel(*branches, need=need, rest=rest, undo=undo, name=self._name("parallel"))

    def _step(self, past_pivot: bool) -> Step[Any]:
        drawn = self._drawn
        name = self._name("step")
        into = self._fields.pop(0) if self._fields else None
        if into is not None:
            self._known.append(into)
        made = step(
            drawn.choice(FORWARD),
            into=into,
            timeout=_span(drawn, 0.8, 5.0),
            retry=self._retry(3),
            name=name,
            locks=f"{drawn.choice(('red', 'blue'))}-{{group}}" if drawn.random() < self._taste.locks else None,
            expected_within=_span(drawn, 0.2, 1.0) if drawn.random() < 0.15 else None,
        )(Looks(name, 9 if drawn.random() < self._taste.trips else -1))
        if not past_pivot and drawn.random() < 0.8:
            trips_at = 8 if drawn.random() < self._taste.trips else -1
            made.undo(drawn.choice(UNDO), timeout=_span(drawn, 1.5, 5.0), retry=self._retry(5))(Looks(name, trips_at))
        return made

    def _retry(self, most: int) -> Retry:
        drawn = self._drawn
        first = _span(drawn, 0.002, 0.4)
        return Retry(
            max_attempts=drawn.randint(1, most),
            first_delay=first,
            factor=drawn.choice((1.0, 2.0)),
            max_delay=first * 3,
            attempt_timeout=_span(drawn, 0.3, 1.5) if drawn.random() < 0.5 else None,
        )

    def _scatter(self) -> AnyNode | None:
        drawn = self._drawn
        into = self._take("answers", "best")
        if into is None:
            return None
        need = drawn.choice((1, 2))
        name = self._name("scatter")
        return scatter(
            ASKED,
            queues=QUEUES,
            into=into,
            deadline=_span(drawn, 0.5, 2.0),
            need=need,
            at_least=drawn.randint(1, need),
            best=cost if into == "best" else None,
            name=name,
        )(Looks(name))

    def _wait(self) -> AnyNode:
        drawn = self._drawn
        expected = [
            expect(event, key=EventKey(drawn.random() < 0.6), into=self._take("h0", "h1"))
            for event in drawn.sample(EVENTS, drawn.choice((1, 1, 2)))
        ]
        return wait(
            *expected,
            timeout=_span(drawn, 1.0, 6.0),
            need=drawn.choice(("all", "any")),
            on_timeout=drawn.choice(("fail", "go_on")),
            name=self._name("wait"),
        )

    def _ask(self) -> AnyNode | None:
        into = self._take("form")
        if into is None:
            return None
        escalation = Escalation(after=timedelta(seconds=1), to=PEOPLE[1:]) if self._drawn.random() < 0.5 else None
        return ask(
            self._name("ask"),
            Form,
            question=Question("may"),
            who=Who(PEOPLE[:1]),
            into=into,
            due=_span(self._drawn, 1.5, 8.0),
            escalation=escalation,
        )

    def _child(self, past_pivot: bool) -> Saga[Part]:
        self._sagas += 1
        name = f"{self._saga}-child-{self._sagas}"
        hand = _Hand(self._drawn, self._taste, name, Part)
        flow = hand.flow(self._drawn.randint(1, 2), past_pivot=False, depth=1)
        if past_pivot and self._drawn.random() < 0.3:
            flow = [*flow, pivot, *hand.flow(1, past_pivot=True, depth=2)]
        return Saga(name, Part, flow=flow)

    def _run(self, past_pivot: bool) -> AnyNode:
        timeout = _span(self._drawn, 1.0, 6.0) if self._drawn.random() < 0.4 else None
        into = self._take("child")
        return run(self._child(past_pivot), Begins(), into=into, timeout=timeout, name=self._name("run"))

    def _each(self, past_pivot: bool) -> AnyNode:
        drawn = self._drawn
        return each(
            self._child(past_pivot),
            of=Parts(drawn.randint(1, 4)),
            gather=Gathers() if drawn.random() < 0.6 else None,
            concurrency=drawn.randint(1, 3),
            tolerate=drawn.choice((0, 0, 1, 2)),
            name=self._name("each"),
        )

    def _take(self, *fields: str) -> str | None:
        """A field that no node fills yet."""
        for field in fields:
            if field in self._free:
                self._free.remove(field)
                return field
        return None

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}-{self._count}"
