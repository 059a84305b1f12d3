"""Whatever an author's function gives is used, or puts its instance into attention with the node's name and the remedy.

Each of the author's functions is given a table of results that somebody gives by mistake. Nothing is raised by the
engine, no live instance stands without a next wake-up or attention (G4), and what is said tells what to do next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from sagaline.orchestrator.codec.documents import decode_document, encode_document
from sagaline.orchestrator.messages.document import Status
from sagaline.orchestrator.scenes.scene import Scene
from sagaline.sagas import Contract, Event, Saga, step
from sagaline.sagas.definition import AnyDefinition
from sagaline.sagas.nodes import ask, choose, each, emit, expect, loop, route, run, scatter, sleep, wait, when
from sagaline.sagas.process_manager import Next, ProcessManager
from sagaline.sagas.routing_slip import RoutingSlip, stop

from .kernel_nodes import HOUR, Did, Do, Offer, Paid, Talk, flow_of, leg, paid

bid: Contract[Do, Offer] = Contract("bid", Do, Offer, queue="q")
do: Contract[Do, Did] = Contract("do", Do, Did, queue="q")
undo: Contract[Do, Did] = Contract("undo", Do, Did, queue="q")


class Other(BaseModel):
    """What nobody asked for."""


async def later() -> None:
    """Nobody waits for it."""


def rows() -> Iterator[int]:
    yield 1


class Unlike:
    """Whose length and truth raise."""

    def __len__(self) -> int:
        raise RuntimeError("no length")

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")

    def __getitem__(self, at: int) -> object:
        raise RuntimeError("no items")


WRONG: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "coroutine": later,
    "generator": rows,
    "class": lambda: Talk,
    "function": lambda: later,
    "another model": Other,
    "empty text": lambda: "",
    "blank": lambda: "  ",
    "text": lambda: "text",
    "half a surrogate pair": lambda: "\ud800",
    "control": lambda: "a\x00b",
    "dots": lambda: "..",
    "long": lambda: "x" * 5_000,
    "bytes": lambda: b"x",
    "NaN": lambda: math.nan,
    "infinity": lambda: -math.inf,
    "true": lambda: True,
    "number": lambda: 5,
    "huge number": lambda: 10**400,
    "decimal": lambda: Decimal("NaN"),
    "negative span": lambda: timedelta(days=-1),
    "longest span": lambda: timedelta.max,
    "shortest span": lambda: timedelta.min,
    "empty list": list,
    "list of None": lambda: [None],
    "list of numbers": lambda: [5],
    "list of lists": lambda: [[]],
    "set": lambda: {1},
    "dict": lambda: {"a": object()},
    "dict of NaN": lambda: {"a": math.nan},
    "dict by number": lambda: {5: "a"},
    "unlike anything": Unlike,
    "wrongly filled": lambda: Talk.model_construct(n="x"),
    "a wrong command": lambda: Do.model_construct(n="x"),
    "a wrong body": lambda: Paid.model_construct(amount=math.nan),
    "Next of nothing": lambda: Next(None),  # type: ignore[arg-type]
    "Next of no state": lambda: Next("x", "state"),  # type: ignore[type-var]
    "Next of another state": lambda: Next("x", Other()),
    "Next with a strange step": lambda: Next("x", Talk(), do=[leg("strange")]),
    "Next with one step": lambda: Next("x", Talk(), do=leg("strange")),  # type: ignore[arg-type]
    "Next with one event": lambda: Next("x", Talk(), emit=SAID),  # type: ignore[arg-type]
    "Next with no event": lambda: Next("x", Talk(), emit=[5]),  # type: ignore[list-item]
    "Next with a number for a span": lambda: Next("x", Talk(), timers={"t": 5}),  # type: ignore[dict-item]
    "Next with a negative span": lambda: Next("x", Talk(), timers={"t": timedelta(-1)}),
    "Next with a list of timers": lambda: Next("x", Talk(), timers=["t"]),  # type: ignore[arg-type]
    "Next with a nameless timer": lambda: Next("x", Talk(), timers={"T 1": HOUR}),
    "Next that clears a text": lambda: Next("x", Talk(), clear="t"),
    "Next that clears a number": lambda: Next("x", Talk(), clear=[5]),  # type: ignore[list-item]
    "Next without a reason": lambda: Next.fail(None),  # type: ignore[arg-type]
    "Next with a reason that is none": lambda: Next.fail(5),  # type: ignore[arg-type]
}
SAID = emit(paid, lambda s: Paid(amount=1), key=lambda s: "k")


class Lots(BaseModel):
    """A part of an each."""

    n: int = 0


def part() -> Saga[Lots]:
    return Saga("part", Lots, flow=[step(do, name="work")(lambda s: Do())])


def undone(give: Callable[..., Any]) -> Scene:
    first = step(do, name="a")(lambda s: Do())
    first.undo(undo)(give)
    return Scene.start(flow_of(first, leg("b"))).ok("a").rejects("b")


def managed(**given: Any) -> Scene:
    give: Any = given.get("starts", lambda e: Next("open", Talk(), timers={"t": HOUR}))
    found: ProcessManager[Talk] = ProcessManager("pm", Talk, steps=[leg("pick")])
    found.starts_on(paid, key=lambda e: "k")(give)
    found.on_timer("t")(given.get("timer", lambda s: Next("x")))
    return Scene.of(found, key="k").receives(paid, {"amount": 1}, key="k")


def parted(scene: Scene) -> Scene:
    """The part is done."""
    return scene.ok("work", of=next(id for id in scene.entities if id.startswith("part/")))


FUNCTIONS: dict[str, Callable[[Callable[..., Any]], Scene]] = {
    "step": lambda give: Scene.start(flow_of(step(do, name="a")(give))),
    "undo": undone,
    "choose": lambda give: Scene.start(flow_of(choose(when(give, leg("a")), otherwise=leg("b")))),
    "loop": lambda give: Scene.start(flow_of(loop(leg("a"), while_=give, rounds_max=2))),
    "sleep": lambda give: Scene.start(flow_of(sleep("doze", give), leg("a"))),
    "wait": lambda give: Scene.start(flow_of(wait(expect(paid, key=give), timeout=HOUR))),
    "emit, its body": lambda give: Scene.start(flow_of(emit(paid, give, key=lambda s: "k"), leg("a"))),
    "emit, its key": lambda give: Scene.start(flow_of(emit(paid, lambda s: Paid(amount=1), key=give), leg("a"))),
    "ask, its question": lambda give: Scene.start(
        flow_of(ask("q", Did, question=give, who=lambda s: ["ann"], into="did", due=HOUR))
    ),
    "ask, who": lambda give: Scene.start(
        flow_of(ask("q", Did, question=lambda s: "?", who=give, into="did", due=HOUR))
    ),
    "route": lambda give: Scene.start(flow_of(route("t", by=give, to={"a": leg("a")}, otherwise="a"))),
    "run": lambda give: Scene.start(flow_of(run(part(), give))),
    "each, its parts": lambda give: Scene.start(flow_of(each(part(), of=give), leg("a"))),
    "each, one part": lambda give: Scene.start(flow_of(each(part(), of=lambda s: [give(s)]))),
    "each, gather": lambda give: parted(Scene.start(flow_of(each(part(), of=lambda s: [Lots()], gather=give)))),
    "scatter": lambda give: Scene.start(
        flow_of(scatter(bid, queues=["q", "r"], into="offers", deadline=HOUR, name="ask")(give))
    ),
    "scatter, best": lambda give: (
        Scene.start(
            flow_of(scatter(bid, queues=["q", "r"], into="offer", deadline=HOUR, best=give, name="ask")(lambda s: Do()))
        )
        .ok("ask.q")
        .ok("ask.r")
    ),
    "lock": lambda give: Scene.start(flow_of(leg("a", locks="{n}"))),
    "plan": lambda give: Scene.start(planned(give)),
    "manager, its start": lambda give: managed(starts=give),
    "manager, its timer": lambda give: managed(timer=give).tick(),
}


def planned(give: Callable[..., Any]) -> RoutingSlip[Talk]:
    found: RoutingSlip[Talk] = RoutingSlip("talk", Talk, stops=[stop(do, into="did")])
    found.plan(give)
    return found


def hanging(scene: Scene) -> list[str]:
    """Live instances without a next wake-up that do not stand in attention, and documents that cannot be kept."""
    found = []
    for id, entity in scene.entities.items():
        if id.startswith("@"):
            continue
        document = decode_document(encode_document(entity))  # type: ignore[arg-type]  # no entity
        stands = document.status.is_final or document.status is Status.ATTENTION
        waits = bool(document.timers) or any(record.status == "sent" for record in document.steps.values())
        if not stands and not waits:
            found.append(f"{id} is {document.status} and waits for nothing: {document.steps}")
    return found


@pytest.mark.parametrize("function", FUNCTIONS)
def test_whatever_a_function_gives_is_used_or_told_with_the_remedy(function: str) -> None:
    for what, make in WRONG.items():
        scene = FUNCTIONS[function](lambda *_, make=make: make())
        assert hanging(scene) == [], what
        for entity in scene.entities.values():
            attention = getattr(entity, "attention", None)
            assert attention is None or "retry" in attention.message, what
            assert attention is None or "engine failed" not in attention.message, what


SEEN: dict[str, tuple[str, Callable[[], Any], str]] = {
    "no parts": ("each, its parts", lambda: None, "of, the parts of each 'part', gave None; give a list of parts"),
    "parts that are made once": (
        "each, its parts",
        rows,
        "of, the parts of each 'part', gave a generator (return a list; do not use yield); give a list of parts",
    ),
    "another part": (
        "each, one part",
        Other,
        "a part of each 'part' gave a Other; Saga('part', version=1) starts with a Lots",
    ),
    "one name": ("ask, who", lambda: "ann", "who of ask 'q' gave 'ann'; give a list of names of people or roles"),
    "nobody": ("ask, who", list, "who of ask 'q' gave an empty list; give at least one person or role that may answer"),
    "no name": (
        "ask, who",
        lambda: [None],
        "who of ask 'q' gave a list with None in it; give names of people or roles",
    ),
    "no question": (
        "ask, its question",
        lambda: None,
        "the question of ask 'q' gave None; give a text that people can read",
    ),
    "an async step": (
        "step",
        later,
        "the function of step 'a' gave a coroutine (its function is async; declare it with def); "
        "contract 'do' sends a Do",
    ),
    "an async predicate": (
        "choose",
        later,
        "a case of choose 'choose-a' gave a coroutine (its function is async; declare it with def); give True or False",
    ),
    "a method for a truth": (
        "loop",
        lambda: later,
        "while of loop 'loop-a' gave a function, which is always true; call it, and give True or False",
    ),
    "a key that is too long": (
        "wait",
        lambda: "k" * 300,
        "a key of wait 'wait-paid' gave a key that has 300 characters; give 1 to 256",
    ),
    "a key with a control character": (
        "emit, its key",
        lambda: "a\nb",
        "emit 'emit-paid' gave a key that has a control character (U+000A) at position 1; remove it",
    ),
    "a fact that is no fact": (
        "route",
        lambda: {"a": [1]},
        "the facts of route 'route-t' gave a dict with 'a': a list; give strings, finite numbers, True, False or None",
    ),
    "a bid without a price": (
        "scatter, best",
        lambda: math.nan,
        "best of scatter 'ask' gave nan; give a number, the lowest is the best",
    ),
    "a timer by number": (
        "manager, its start",
        lambda: Next("x", Talk(), timers={"t": 5}),  # type: ignore[dict-item]
        "the handler of event 'paid' gave Next with timers: 5; give a timedelta of zero or more",
    ),
    "a timer in the past": (
        "manager, its start",
        lambda: Next("x", Talk(), timers={"t": timedelta(seconds=-1)}),
        "the handler of event 'paid' gave Next with timers: -1 day, 23:59:59; give a timedelta of zero or more",
    ),
    "a step of another": (
        "manager, its start",
        lambda: Next("x", Talk(), do=[leg("strange")]),
        "the handler of event 'paid' gave Next with do: Step('strange'), which is not a step of "
        "ProcessManager('pm', version=1); add it to steps=[…]",
    ),
    "one event for a list": (
        "manager, its timer",
        lambda: Next("x", emit=SAID),  # type: ignore[arg-type]
        "the handler of timer 't' gave Next with emit: a Emit; give a list of emit(…)",
    ),
    "a failure without a reason": (
        "manager, its timer",
        lambda: Next.fail(None),  # type: ignore[arg-type]
        "the handler of timer 't' gave Next without a phase; give Next(phase), Next.complete() or Next.fail(reason)",
    ),
}


@pytest.mark.parametrize("seen", SEEN)
def test_a_wrong_result_is_told_with_its_node_and_the_remedy(seen: str) -> None:
    function, make, message = SEEN[seen]
    scene = FUNCTIONS[function](lambda *_: make())
    assert scene.attention is not None
    assert scene.attention.message == f"{message}; deploy the fix, then retry"


def test_a_lock_whose_name_no_key_can_be_stops_its_instance_at_once() -> None:
    class Named(Talk):
        name: str = ""

    saga = Saga("talk", Named, flow=[step(do, name="a", locks="{name}")(lambda s: Do())])
    for name in ("", "x" * 257, "a\x00b", "..", "\U0001f6d2" * 129):
        scene = Scene.start(saga, {"name": name})
        assert scene.attention is not None
        assert scene.attention.message.startswith("the lock '{name}' of step 'a' gave a key that ")


def test_a_deep_child_whose_id_would_be_too_long_is_told_at_once() -> None:
    """The start of such a child could never be read, and its parent would wait without end."""
    inner: AnyDefinition = part()
    for depth in range(20):
        inner = Saga(f"nested-{depth}-{'x' * 40}", Lots, flow=[run(inner, lambda s: Lots(), name="y" * 60)])
    long: Saga[Lots] = Saga("long", Lots, flow=[run(inner, lambda s: Lots(), name="y" * 60)])
    scene = Scene.start(long, {}, key="k" * 250)
    assert hanging(scene) == []
    told = [entity.attention.message for entity in scene.entities.values() if getattr(entity, "attention", None)]
    assert len(told) == 1
    assert "bytes; give at most 2,048" in told[0]


class Fussy(BaseModel):
    """The body of an event whose author's check raises what it should not."""

    n: int

    @field_validator("n")
    @classmethod
    def _check(cls, n: int) -> int:
        return {0: 0}[n]


class Heard(BaseModel):
    fussy: Fussy | None = None


def test_a_body_whose_check_raises_stops_the_wait_and_a_right_one_goes_on() -> None:
    fussed = Event("fussed", Fussy)
    node: Any = wait(expect(fussed, key=lambda s: "k", into="fussy"), timeout=HOUR, name="wait")
    scene = Scene.start(Saga("heard", Heard, flow=[node, step(do, name="last")(lambda s: Do())]))
    stuck = scene.receives(fussed, {"n": 1}, key="k")
    assert stuck.attention is not None
    assert stuck.attention.message.endswith("does not fit Fussy: KeyError: 1; publish a valid one, then retry")
    assert stuck.receives(fussed, {"n": 0}, key="k").retry().state.fussy == Fussy(n=0)
